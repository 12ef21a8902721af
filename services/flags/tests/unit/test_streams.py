"""The hub of event streams, with clocks in the test's hand."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from services.flags.tests.factories import definition

from undercroft.flags.domain.flag_set import compile_flag_set
from undercroft.flags.errors import StreamLimitError, StreamsFullError
from undercroft.flags.repository.snapshots import Horizon
from undercroft.flags.service.snapshots import Snapshot, SnapshotStore
from undercroft.flags.service.streams import StreamBounds, StreamHub, Subscription

KEY = "key_01h455vb4pex5vsknk084sn02q"
HEARTBEAT = b":\n\n"
ENVIRONMENT = uuid4()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def snapshot(*flags: str, environment: str = "production") -> Snapshot:
    document = {"flags": {key: definition() for key in flags}}
    return Snapshot(ENVIRONMENT, environment, len(flags), compile_flag_set(document), Horizon(len(flags), ""))


BEFORE, AFTER = snapshot("one"), snapshot("one", "two")


def hub_with(clock: Clock | None = None, **bounds: Any) -> StreamHub:
    known = {"max_streams": 3, "max_streams_per_key": 2, "heartbeat_seconds": 15, "life_seconds": 600}
    time = clock or Clock()
    return StreamHub(StreamBounds(**{**known, **bounds}), clock=time, monotonic=time)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def greeted(subscription: Subscription) -> Subscription:
    assert await next_of(subscription) is not None
    return subscription


async def next_of(subscription: Subscription) -> bytes | None:
    async with asyncio.timeout(2):
        return await subscription.next()


def fields_of(frame: bytes | None) -> dict[str, str]:
    assert frame is not None
    lines = frame.decode().strip().splitlines()
    return dict(line.split(": ", 1) for line in lines if line)


async def test_a_stream_begins_with_the_version_to_come_back_with():
    hub = hub_with()
    with hub.open(BEFORE, key=KEY, last_seen=None) as subscription:
        fields = fields_of(await next_of(subscription))
    assert fields["id"] == BEFORE.flags.version
    assert 1_000 <= int(fields["retry"]) <= 3_000
    assert "data" not in fields


async def test_a_change_is_told_as_ofrep_says():
    hub = hub_with()
    hub.publish([BEFORE])
    with hub.open(BEFORE, key=KEY, last_seen=None) as subscription:
        await greeted(subscription)
        hub.publish([AFTER])
        fields = fields_of(await next_of(subscription))
    assert (fields["event"], fields["id"]) == ("message", AFTER.flags.version)
    assert json.loads(fields["data"]) == {
        "type": "refetchEvaluation",
        "etag": AFTER.flags.version,
        "lastModified": 1_000,
    }


async def test_whoever_waits_is_woken():
    hub = hub_with()
    hub.publish([BEFORE])
    with hub.open(BEFORE, key=KEY, last_seen=None) as subscription:
        await greeted(subscription)
        waiting = asyncio.create_task(next_of(subscription))
        await asyncio.sleep(0)
        hub.publish([AFTER])
        assert AFTER.flags.version.encode() in (await waiting or b"")


async def test_only_the_newest_news_waits_for_a_slow_client():
    hub = hub_with()
    versions = [snapshot(*(f"flag-{number}" for number in range(size))) for size in range(1, 50)]
    with hub.open(BEFORE, key=KEY, last_seen=None) as subscription:
        for each in versions:
            hub.publish([each])
        assert fields_of(await next_of(subscription))["id"] == versions[-1].flags.version
        waiting = asyncio.create_task(next_of(subscription))
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()


@pytest.mark.parametrize("last_seen", [AFTER.flags.version, "nonsense", ""])
async def test_who_missed_a_change_is_told_at_once(last_seen: str):
    hub = hub_with()
    with hub.open(BEFORE, key=KEY, last_seen=last_seen) as subscription:
        frame = await next_of(subscription)
    assert frame is not None
    assert frame.count(b"refetchEvaluation") == 1


async def test_who_missed_nothing_is_told_nothing():
    hub = hub_with()
    with hub.open(BEFORE, key=KEY, last_seen=BEFORE.flags.version) as subscription:
        assert b"data" not in (await next_of(subscription) or b"")


async def test_another_environment_is_none_of_ones_business(stack: ExitStack):
    hub = hub_with()
    staging = snapshot("one", environment="staging")
    hub.publish([BEFORE, staging])
    subscription = await greeted(stack.enter_context(hub.open(staging, key=KEY, last_seen=None)))
    hub.publish([AFTER, staging])
    subscription.end()
    assert await next_of(subscription) is None


async def test_streams_of_an_environment_that_is_no_more_end(stack: ExitStack):
    hub = hub_with()
    hub.publish([BEFORE])
    subscription = await greeted(stack.enter_context(hub.open(BEFORE, key=KEY, last_seen=None)))
    hub.publish([])
    assert await next_of(subscription) is None


def test_one_caller_has_so_many_streams_and_no_more(stack: ExitStack):
    hub = hub_with()
    opened = [hub.open(BEFORE, key=KEY, last_seen=None) for _ in range(3)]
    stack.enter_context(opened[0])
    stack.enter_context(opened[1])
    with pytest.raises(StreamLimitError) as refused:
        stack.enter_context(opened[2])
    assert (refused.value.status, refused.value.code) == (429, "stream_limit_reached")
    stack.enter_context(hub.open(BEFORE, key="key_of_another", last_seen=None))


def test_a_process_has_so_many_streams_and_no_more(stack: ExitStack):
    hub = hub_with()
    for number in range(3):
        stack.enter_context(hub.open(BEFORE, key=f"key_{number}", last_seen=None))
    with pytest.raises(StreamsFullError) as refused:
        stack.enter_context(hub.open(BEFORE, key="key_3", last_seen=None))
    assert (refused.value.status, refused.value.code) == (503, "streams_full")
    stack.close()
    assert len(hub) == 0
    stack.enter_context(hub.open(BEFORE, key="key_3", last_seen=None))


async def test_an_idle_stream_beats_once_an_interval(stack: ExitStack):
    clock = Clock()
    hub = hub_with(clock)
    subscription = await greeted(stack.enter_context(hub.open(BEFORE, key=KEY, last_seen=None)))
    clock.now += 15
    hub.tick()
    hub.tick()
    assert await next_of(subscription) == HEARTBEAT
    clock.now += 14
    hub.tick()
    clock.now += 1
    hub.tick()
    assert await next_of(subscription) == HEARTBEAT


async def test_a_heartbeat_never_replaces_news(stack: ExitStack):
    clock = Clock()
    hub = hub_with(clock)
    subscription = await greeted(stack.enter_context(hub.open(BEFORE, key=KEY, last_seen=None)))
    hub.publish([AFTER])
    clock.now += 15
    hub.tick()
    assert b"refetchEvaluation" in (await next_of(subscription) or b"")


async def test_a_stream_ends_when_its_life_is_over(stack: ExitStack):
    clock = Clock()
    hub = hub_with(clock)
    subscription = await greeted(stack.enter_context(hub.open(BEFORE, key=KEY, last_seen=None)))
    clock.now += 539
    hub.tick()
    assert not subscription.is_ended
    clock.now += 61
    hub.tick()
    assert await next_of(subscription) is None


async def test_all_streams_end_when_the_process_is_to_stop(stack: ExitStack, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("undercroft.flags.service.streams._TICK_SECONDS", 0.001)
    hub, stops = hub_with(), False
    subscription = await greeted(stack.enter_context(hub.open(BEFORE, key=KEY, last_seen=None)))
    running = asyncio.create_task(hub.run(lambda: stops))
    await asyncio.sleep(0.01)
    assert not subscription.is_ended
    stops = True
    assert await next_of(subscription) is None
    running.cancel()


def test_a_follower_of_the_store_knows_what_is_in_it_already():
    seen: list[Sequence[Snapshot]] = []
    store = SnapshotStore()
    store.swap([BEFORE])
    store.follow(seen.append)
    store.swap([AFTER])
    assert seen == [(BEFORE,), (AFTER,)]
