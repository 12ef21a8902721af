import asyncio
from collections.abc import Callable

import httpx
import pytest

from undercroft.shared.auth import PrincipalKeys, PrincipalSigner
from undercroft.shared.errors import ForbiddenError, UnavailableError
from undercroft.shared.events import CloudEvent, CursorGoneError, FeedPage
from undercroft.shared.events.followers import HttpFeedClient, follow_in_memory
from undercroft.shared.http_client import ServiceClient
from undercroft.shared.testing import principal_keys

Answer = FeedPage | Exception


def event(subject: str) -> CloudEvent:
    return CloudEvent(
        id="evt_1",
        source="/identity",
        type="dev.undercroft.test.happened",
        subject=subject,
        time=NOW,
        data={},
    )


NOW = "2026-11-01T00:00:00Z"


def page(cursor: str, *names: str) -> FeedPage:
    return FeedPage(items=[event(name) for name in names], next_cursor=cursor)


class ScriptedFeed:
    """A feed that gives the answers it was told to give, then nothing more."""

    def __init__(self, *answers: Answer) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)

    async def read(self, *, after: str, wait_seconds: float) -> FeedPage:
        self.asked.append(after)
        if not self._answers:
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def is_exhausted(self) -> bool:
        return not self._answers


class Recorder:
    """What a follower did, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def handle(self, event: CloudEvent) -> None:
        self.calls.append(event.subject)

    async def on_gap(self) -> None:
        self.calls.append("gap")


async def follow(feed: ScriptedFeed, recorder: Recorder) -> None:
    task = asyncio.create_task(follow_in_memory(feed, recorder.handle, on_gap=recorder.on_gap))
    try:
        async with asyncio.timeout(5):
            while not (feed.is_exhausted or task.done()):  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_following_begins_at_the_tail_and_goes_on_from_cursor_to_cursor():
    feed, recorder = ScriptedFeed(page("1"), page("3", "a", "b"), page("4", "c")), Recorder()
    await follow(feed, recorder)
    assert recorder.calls == ["gap", "a", "b", "c"]
    assert feed.asked == ["tail", "1", "3", "4"]


async def test_an_unreachable_feed_is_retried_from_the_same_place():
    feed = ScriptedFeed(UnavailableError(), page("1"), UnavailableError(), UnavailableError(), page("2", "a"))
    recorder = Recorder()
    await follow(feed, recorder)
    assert recorder.calls == ["gap", "a"]
    assert feed.asked == ["tail", "tail", "1", "1", "1", "2"]


async def test_a_gap_is_told_after_the_new_tail_is_known():
    feed, recorder = ScriptedFeed(page("1"), CursorGoneError(), page("7"), page("8", "a")), Recorder()
    await follow(feed, recorder)
    assert recorder.calls == ["gap", "gap", "a"]
    assert feed.asked == ["tail", "1", "tail", "7", "8"]


async def test_a_refusal_is_not_retried():
    with pytest.raises(ForbiddenError):
        await follow(ScriptedFeed(page("1"), ForbiddenError()), Recorder())


async def test_an_error_of_the_handler_ends_following(monkeypatch: pytest.MonkeyPatch):
    recorder = Recorder()
    monkeypatch.setattr(recorder, "handle", failing)
    with pytest.raises(ZeroDivisionError):
        await follow(ScriptedFeed(page("1"), page("2", "a"), page("3")), recorder)


async def failing(_: CloudEvent) -> None:
    raise ZeroDivisionError


def http_feed(answer: Callable[[httpx.Request], httpx.Response]) -> HttpFeedClient:
    signer = PrincipalSigner("gateway", PrincipalKeys(principal_keys("gateway")))
    transport = httpx.MockTransport(answer)
    return HttpFeedClient(
        ServiceClient("http://identity", transport=transport, audience="identity", signer=signer)
    )


async def test_the_client_asks_for_events_after_a_cursor_and_signs_as_itself():
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=page("2", "a").model_dump_json(by_alias=True))

    got = await http_feed(answer).read(after="1=", wait_seconds=20)
    assert got.items[0].subject == "a"
    assert asked[0].url.path == "/internal/events"
    assert dict(asked[0].url.params) == {"after": "1=", "limit": "200", "wait": "20"}
    assert "undercroft-principal" in asked[0].headers


async def test_a_feed_that_does_not_wait_is_not_asked_without_end():
    class Hasty:
        asked = 0

        async def read(self, *, after: str, wait_seconds: float) -> FeedPage:
            del after, wait_seconds
            self.asked += 1
            return page("0")

    feed, recorder = Hasty(), Recorder()
    following = asyncio.create_task(follow_in_memory(feed, recorder.handle, on_gap=recorder.on_gap))
    await asyncio.sleep(0.05)  # comes back at all: nothing else in the process may be starved
    following.cancel()
    assert feed.asked == 2
