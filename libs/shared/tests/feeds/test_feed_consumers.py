import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.shared.db import Database
from undercroft.shared.errors import ForbiddenError
from undercroft.shared.events import CloudEvent, CursorGoneError, FeedPage
from undercroft.shared.events.consumers import DatabaseConsumer, Resync, follow_in_database
from undercroft.shared.events.outbox import START, Cursor, check_cursor, read_batch

Emit = Callable[..., Awaitable[None]]


class LocalFeed:
    """The owner's feed without HTTP."""

    def __init__(self, database: Database, outbox: sa.Table) -> None:
        self._database = database
        self._outbox = outbox
        self.failures: list[Exception] = []

    async def read(self, *, after: str, wait_seconds: float) -> FeedPage:
        await asyncio.sleep(0.01)
        if self.failures:
            raise self.failures.pop()
        cursor = START if after == "start" else Cursor.decode(after)
        async with self._database.session() as session:
            await check_cursor(session, self._outbox, cursor)
            batch = await read_batch(session, self._outbox, after=cursor, limit=100)
        return FeedPage(items=batch.events, next_cursor=batch.cursor.encode())


@pytest.fixture
def feed(database: Database, outbox: sa.Table) -> LocalFeed:
    return LocalFeed(database, outbox)


@pytest.fixture
def consumer(cursors: sa.Table, effects: sa.Table) -> DatabaseConsumer:
    async def handle(session: AsyncSession, event: CloudEvent) -> None:
        await session.execute(sa.insert(effects).values(subject=event.subject))

    return DatabaseConsumer(name="owner", cursors=cursors, handle=handle)


async def applied(database: Database, effects: sa.Table) -> list[str]:
    async with database.session() as session:
        return list(await session.scalars(sa.select(effects.c.subject)))


async def until(database: Database, effects: sa.Table, subject: str) -> list[str]:
    async with asyncio.timeout(10):
        while subject not in (found := await applied(database, effects)):  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.02)
    return found


async def stop(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def start(feed: LocalFeed, database: Database, consumer: DatabaseConsumer) -> "asyncio.Task[None]":
    return asyncio.create_task(follow_in_database(feed, database, consumer, standby_seconds=0.05))


async def test_every_event_is_applied_once_in_order(
    feed: LocalFeed, database: Database, consumer: DatabaseConsumer, effects: sa.Table, emit: Emit
):
    await emit("a", "b")
    follower = start(feed, database, consumer)
    await until(database, effects, "b")
    await emit("c")
    assert await until(database, effects, "c") == ["a", "b", "c"]
    await stop(follower)


async def test_a_restarted_consumer_goes_on_where_it_committed(
    feed: LocalFeed, database: Database, consumer: DatabaseConsumer, effects: sa.Table, emit: Emit
):
    await emit("a")
    first = start(feed, database, consumer)
    await until(database, effects, "a")
    await stop(first)
    await emit("b")
    second = start(feed, database, consumer)
    assert await until(database, effects, "b") == ["a", "b"]
    await stop(second)


async def test_a_consumer_killed_between_effect_and_commit_applies_exactly_once(
    feed: LocalFeed, database: Database, consumer: DatabaseConsumer, effects: sa.Table, emit: Emit
):
    reached = asyncio.Event()

    async def handle_and_hang(session: AsyncSession, event: CloudEvent) -> None:
        await consumer.handle(session, event)
        reached.set()
        await asyncio.Event().wait()

    await emit("a", "b")
    killed = start(feed, database, replace(consumer, handle=handle_and_hang))
    await asyncio.wait_for(reached.wait(), 5)
    await stop(killed)
    assert await applied(database, effects) == []
    follower = start(feed, database, consumer)
    assert await until(database, effects, "b") == ["a", "b"]
    await stop(follower)


async def test_a_consumer_whose_connection_dies_before_commit_applies_exactly_once(
    feed: LocalFeed, database: Database, consumer: DatabaseConsumer, effects: sa.Table, emit: Emit
):
    async def handle_and_die(session: AsyncSession, event: CloudEvent) -> None:
        await consumer.handle(session, event)
        await session.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

    await emit("a")
    dying = start(feed, database, replace(consumer, handle=handle_and_die))
    with pytest.raises(Exception, match="not available"):
        await asyncio.wait_for(dying, 5)
    follower = start(feed, database, consumer)
    assert await until(database, effects, "a") == ["a"]
    await stop(follower)


async def test_one_replica_follows_and_another_takes_over(
    feed: LocalFeed, database: Database, consumer: DatabaseConsumer, effects: sa.Table, emit: Emit
):
    handled: list[str] = []

    def replica(name: str) -> "asyncio.Task[None]":
        async def handle(session: AsyncSession, event: CloudEvent) -> None:
            handled.append(name)
            await consumer.handle(session, event)

        return start(feed, database, replace(consumer, handle=handle))

    first = replica("first")
    await emit("a")
    await until(database, effects, "a")
    second = replica("second")
    await emit("b")
    await until(database, effects, "b")
    await stop(first)
    await emit("c")
    assert await until(database, effects, "c") == ["a", "b", "c"]
    assert handled == ["first", "first", "second"]
    await stop(second)


async def test_a_cursor_moved_by_somebody_else_is_adopted(
    feed: LocalFeed,
    database: Database,
    consumer: DatabaseConsumer,
    effects: sa.Table,
    emit: Emit,
):
    page: FeedPage | None = None
    reached, moved = asyncio.Event(), asyncio.Event()
    original = feed.read

    async def paused(*, after: str, wait_seconds: float) -> FeedPage:
        nonlocal page
        page = await original(after=after, wait_seconds=wait_seconds)
        if page.items and not reached.is_set():
            reached.set()
            await moved.wait()
        return page

    feed.read = paused  # type: ignore[method-assign]
    await emit("a")
    follower = start(feed, database, consumer)
    await asyncio.wait_for(reached.wait(), 5)
    assert page is not None
    async with database.begin() as session:
        await session.execute(sa.update(consumer.cursors).values(cursor=page.next_cursor))
    moved.set()
    await emit("b")
    assert await until(database, effects, "b") == ["b"]
    await stop(follower)


async def test_a_new_consumer_first_writes_the_owners_list(
    feed: LocalFeed, database: Database, consumer: DatabaseConsumer, effects: sa.Table, emit: Emit
):
    await emit("before")
    seen = (await feed.read(after="start", wait_seconds=0)).next_cursor

    async def resync() -> Resync:
        async def write(session: AsyncSession) -> None:
            await session.execute(sa.insert(effects).values(subject="listed"))

        return Resync(cursor=seen, apply=write)

    follower = start(feed, database, replace(consumer, resync=resync))
    await emit("after")
    assert await until(database, effects, "after") == ["listed", "after"]
    await stop(follower)


async def test_a_gap_makes_the_consumer_begin_afresh(
    feed: LocalFeed, database: Database, consumer: DatabaseConsumer, effects: sa.Table, emit: Emit
):
    await emit("a")
    follower = start(feed, database, consumer)
    await until(database, effects, "a")
    feed.failures.append(CursorGoneError())
    await emit("b")
    assert await until(database, effects, "b") == ["a", "a", "b"]
    await stop(follower)


async def test_a_list_is_not_written_when_another_replica_was_faster(
    feed: LocalFeed,
    database: Database,
    consumer: DatabaseConsumer,
    effects: sa.Table,
    emit: Emit,
):
    async def resync() -> Resync:
        async with database.begin() as session:
            await session.execute(sa.insert(consumer.cursors).values(name="owner", cursor=START.encode()))
        return Resync(cursor="start", apply=never)

    await emit("a")
    follower = start(feed, database, replace(consumer, resync=resync))
    assert await until(database, effects, "a") == ["a"]
    await stop(follower)


async def never(_: AsyncSession) -> None:
    pytest.fail("the list was written")


async def test_a_refusal_of_the_feed_ends_following(
    feed: LocalFeed, database: Database, consumer: DatabaseConsumer
):
    feed.failures.append(ForbiddenError())
    with pytest.raises(ForbiddenError):
        await asyncio.wait_for(start(feed, database, consumer), 5)


async def test_the_lock_is_free_after_a_failure(
    feed: LocalFeed, database: Database, consumer: DatabaseConsumer, effects: sa.Table, emit: Emit
):
    feed.failures.append(ForbiddenError())
    with pytest.raises(ForbiddenError):
        await asyncio.wait_for(start(feed, database, consumer), 5)
    await emit("a")
    follower = start(feed, database, consumer)
    assert await until(database, effects, "a") == ["a"]
    await stop(follower)
