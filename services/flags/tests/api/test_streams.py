"""Event streams over HTTP, in process and whole: what is sent, who is refused, how they end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from services.flags.tests.conftest import Replica
from services.flags.tests.database_gate import DatabaseGate
from services.flags.tests.factories import caller, customer, definition, document, operator, settings
from services.flags.tests.ofrep_answers import check_async

from undercroft.flags.main import create_app
from undercroft.flags.routes.streams import EventStream
from undercroft.flags.service.streams import StreamBounds, StreamHub, Subscription
from undercroft.shared.http_client import InProcessTransport

EVENTS = "/ofrep/v1/events"
BULK = "/ofrep/v1/evaluate/flags"
PRODUCTION = "/v1/environments/production/flagd"


class Reader:
    """Reads a stream message by message."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._text = response.aiter_text()
        self._rest = ""

    async def next(self) -> dict[str, str] | None:
        """Return the fields of the next message; None at the end. A heartbeat is a message without fields."""
        async with asyncio.timeout(5):
            while "\n\n" not in self._rest:
                try:
                    self._rest += await anext(self._text)
                except StopAsyncIteration:
                    return None
        message, _, self._rest = self._rest.partition("\n\n")
        return dict(line.split(": ", 1) for line in message.splitlines() if line != ":")


@pytest.fixture
async def follower(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose answers stream, with a customer's principal."""
    transport = InProcessTransport({"flags": app})
    async with httpx.AsyncClient(transport=transport, base_url="http://flags", headers=customer()) as client:
        yield client
    await transport.aclose()


@asynccontextmanager
async def following(client: httpx.AsyncClient, path: str = EVENTS, **headers: str) -> AsyncIterator[Reader]:
    renamed = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.stream("GET", path, headers=renamed) as response:
        yield Reader(response)


async def test_a_stream_is_never_kept_and_never_collected(follower: httpx.AsyncClient):
    async with following(follower) as reader:
        headers = reader.response.headers
        assert reader.response.status_code == 200
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"


async def test_a_change_over_the_api_is_told(client: httpx.AsyncClient, follower: httpx.AsyncClient):
    async with following(follower) as reader:
        greeting = await reader.next()
        await client.put(PRODUCTION, json=document(new_checkout=definition()))
        message = await reader.next()
    assert greeting is not None
    assert message is not None
    assert (message["event"], message["id"] != greeting["id"]) == ("message", True)
    assert json.loads(message["data"])["etag"] == message["id"]


async def test_a_change_elsewhere_is_not_told(client: httpx.AsyncClient, follower: httpx.AsyncClient):
    async with following(follower) as reader:
        await reader.next()
        await client.put("/v1/environments/staging/flagd", json=document(new_checkout=definition()))
        await client.put(PRODUCTION, json=document(another=definition()))
        message = await reader.next()
        assert message is not None
        answer = await follower.post(BULK, json={})
    assert message["id"] == since(answer)


def since(bulk: httpx.Response) -> str:
    uri = bulk.json()["eventStreams"][0]["endpoint"]["requestUri"]
    return parse_qs(urlsplit(uri).query)["since"][0]


@pytest.mark.parametrize("way", ["header", "query"])
async def test_who_comes_back_after_a_change_is_told_at_once(
    client: httpx.AsyncClient, follower: httpx.AsyncClient, way: str
):
    known = since(await follower.post(BULK, json={}))
    await client.put(PRODUCTION, json=document(new_checkout=definition()))
    came_back = (
        following(follower, Last_Event_ID=known)
        if way == "header"
        else following(follower, f"{EVENTS}?since={known}")
    )
    async with came_back as reader:
        await reader.next()
        message = await reader.next()
    assert message is not None
    assert json.loads(message["data"])["type"] == "refetchEvaluation"


async def test_the_last_event_counts_before_the_address(
    client: httpx.AsyncClient, follower: httpx.AsyncClient
):
    old = since(await follower.post(BULK, json={}))
    await client.put(PRODUCTION, json=document(new_checkout=definition()))
    known = since(await follower.post(BULK, json={}))
    async with following(follower, f"{EVENTS}?since={old}", Last_Event_ID=known) as reader:
        await reader.next()
        await client.put(PRODUCTION, json=document(another=definition()))
        message = await reader.next()
    assert message is not None
    assert message["id"] == since(await follower.post(BULK, json={}))


async def test_who_leaves_is_counted_no_more(app: FastAPI, follower: httpx.AsyncClient):
    async with following(follower) as reader:
        await reader.next()
        assert len(app.state.streams) == 1
    await until(lambda: len(app.state.streams) == 0)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.005)


async def test_head_says_what_a_stream_would_be_and_ends(follower: httpx.AsyncClient):
    answer = await follower.head(EVENTS)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"].startswith("text/event-stream")


async def test_a_key_without_environment_is_told_in_ofreps_way(follower: httpx.AsyncClient):
    answer = await follower.get(EVENTS, headers=customer(environment=None))
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "GENERAL")


async def test_an_operator_chooses_the_environment(client: httpx.AsyncClient, follower: httpx.AsyncClient):
    follower.headers = httpx.Headers(operator())
    async with following(follower, f"{EVENTS}?environment=staging") as reader:
        await reader.next()
        await client.put("/v1/environments/staging/flagd", json=document(new_checkout=definition()))
        assert "data" in (await reader.next() or {})


async def test_streams_beyond_a_callers_limit_are_refused(app: FastAPI, follower: httpx.AsyncClient):
    app.state.streams._bounds = bounds_of(app, max_streams_per_key=1)
    async with following(follower) as reader:
        await reader.next()
        refused = await follower.get(EVENTS)
    assert (refused.status_code, refused.json()["code"]) == (429, "stream_limit_reached")
    assert refused.headers["Retry-After"]


async def test_streams_beyond_the_process_limit_are_refused(app: FastAPI, follower: httpx.AsyncClient):
    app.state.streams._bounds = bounds_of(app, max_streams=1)
    async with following(follower) as reader:
        await reader.next()
        others = caller("flags:evaluate", environment="production")
        refused = await follower.get(EVENTS, headers=dict(others))
    assert (refused.status_code, refused.json()["code"]) == (503, "streams_full")
    assert refused.headers["Retry-After"]


def bounds_of(app: FastAPI, **changed: Any) -> StreamBounds:
    known = {"max_streams": 10, "max_streams_per_key": 10, "heartbeat_seconds": 15, "life_seconds": 600}
    assert app.state.streams._bounds.heartbeat_seconds == 15
    return StreamBounds(**{**known, **changed})


async def test_streams_of_a_deleted_environment_end(client: httpx.AsyncClient, follower: httpx.AsyncClient):
    follower.headers = httpx.Headers(operator())
    async with following(follower, f"{EVENTS}?environment=staging") as reader:
        await reader.next()
        deleted = await client.delete("/v1/environments/staging")
        assert deleted.status_code == 204, deleted.text
        assert await reader.next() is None


@contextmanager
def always(subscription: Subscription) -> Iterator[Subscription]:
    yield subscription


async def never(*_: object) -> Any:
    await asyncio.Event().wait()


async def test_a_client_that_takes_nothing_is_given_up():
    subscription = Subscription(beats_at=0, ends_at=0)
    subscription.tell(b"data: 1\n\n")
    started = asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.set()
            return
        await never()

    stream = EventStream(always(subscription), stall_seconds=0.01)
    async with asyncio.timeout(5):
        await stream({"type": "http"}, never, send)
    assert started.is_set()


async def test_every_replica_tells_its_own_streams(replica: Replica, gate: DatabaseGate):
    app = create_app(settings(gate.url, stream_heartbeat_seconds=0.1))
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(replica())
        await stack.enter_async_context(LifespanManager(app))
        transport = InProcessTransport({"flags": app})
        stack.push_async_callback(transport.aclose)
        client = httpx.AsyncClient(transport=transport, base_url="http://flags", headers=customer())
        await stack.enter_async_context(client)
        reader = await stack.enter_async_context(following(client))
        await reader.next()
        assert await reader.next() == {}
        await writer.put(PRODUCTION, json=document(new_checkout=definition(), streamed=definition()))
        async with asyncio.timeout(5):
            while "data" not in (await reader.next() or {"data": "ended"}):
                pass
        app.state.is_draining = True
        async with asyncio.timeout(5):
            while await reader.next() is not None:
                pass


async def test_the_stream_of_an_answer_does_not_stop_it_from_being_known(client: httpx.AsyncClient):
    first = await client.post(BULK, json={}, headers=dict(customer()))
    again = await client.post(BULK, json={}, headers={**customer(), "If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.headers["ETag"]) == (304, first.headers["ETag"])


async def test_an_answer_is_not_known_to_a_client_whose_stream_is_another(client: httpx.AsyncClient):
    theirs = customer()
    others = caller("flags:evaluate", environment="production")
    first = await client.post(BULK, json={}, headers=dict(theirs))
    other = await client.post(BULK, json={}, headers={**others, "If-None-Match": first.headers["ETag"]})
    assert other.status_code == 200


async def test_a_client_whose_token_is_over_is_given_a_new_one(app: FastAPI, client: httpx.AsyncClient):
    """OFREP's web provider would go back to the dead one after each 304."""
    announcer, now = app.state.announcer, 1_000_000
    announcer._clock = lambda: now
    first = await client.post(BULK, json={})
    known = {"If-None-Match": first.headers["ETag"]}
    now += 1_800
    assert (await client.post(BULK, json={}, headers=known)).status_code == 304
    now += 1_800
    fresh = await client.post(BULK, json={}, headers=known)
    assert fresh.status_code == 200
    assert fresh.json()["flags"] == first.json()["flags"]
    assert fresh.json()["eventStreams"] != first.json()["eventStreams"]


async def test_without_a_key_shared_with_the_gateway_no_stream_is_announced(
    app: FastAPI, client: httpx.AsyncClient
):
    app.state.announcer._signer._key = None
    first = await client.post(BULK, json={})
    assert "eventStreams" not in first.json()
    again = await client.post(BULK, json={}, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


def test_the_checks_of_answers_see_what_is_wrong():
    request = httpx.Request("POST", f"http://flags{BULK}")
    wrong = httpx.Response(
        200, json={"flags": [{"key": "a", "value": None, "reason": "STATIC", "variant": ""}]}, request=request
    )
    with pytest.raises(Exception, match="not valid under any"):
        asyncio.run(check_async(wrong))


def test_a_hub_is_told_of_by_settings(app: FastAPI):
    hub: StreamHub = app.state.streams
    assert (hub._bounds.max_streams, hub._bounds.max_streams_per_key) == (2_000, 1_500)
