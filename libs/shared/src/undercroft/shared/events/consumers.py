"""Following another service's feed with an effect in the own database: exactly once, one replica at a time."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, DateTime, MetaData, Table, Text, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from undercroft.shared.db import Database, translate_outage
from undercroft.shared.errors import ServiceError
from undercroft.shared.events.event import CloudEvent, FeedPage
from undercroft.shared.events.followers import FOLLOW_WAIT_SECONDS, FeedClient, SteadyFeedClient, is_gap

START_OF_FEED: Final = "start"


@dataclass(frozen=True, slots=True)
class Resync:
    """A fresh beginning: what to write first (the owner's list, upserted), and the cursor it was served with."""

    cursor: str
    apply: Callable[[AsyncSession], Awaitable[None]]


async def from_start() -> Resync:
    """Begin with the oldest event kept, for consumers to whom older ones mean nothing."""

    async def nothing(_: AsyncSession) -> None:
        """Write nothing."""

    return Resync(cursor=START_OF_FEED, apply=nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConsumer:
    """What follows which feed: `name` is unique in the table of cursors, usually the owner's name.

    `handle` writes the effect of one event in the session it is given and does nothing else that lasts. `resync`
    is asked, outside any transaction, when there is no cursor yet or the feed no longer keeps what comes after it.
    """

    name: str
    cursors: Table
    handle: Callable[[AsyncSession, CloudEvent], Awaitable[None]]
    resync: Callable[[], Awaitable[Resync]] = from_start

    @property
    def lock_number(self) -> int:
        """Number of the advisory lock that the following replica holds."""
        digest = hashlib.sha256(f"feed:{self.cursors.schema}:{self.name}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


def feed_cursor_table(metadata: MetaData) -> Table:
    """Declare the table of the feeds that a service follows and how far it is."""
    return Table(
        "feed_cursors",
        metadata,
        Column("name", Text, primary_key=True),
        Column("cursor", Text, nullable=False),
        Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    )


async def follow_in_database(
    client: FeedClient, database: Database, consumer: DatabaseConsumer, *, standby_seconds: float = 2.0
) -> None:
    """Apply every event of a feed once, for ever, in order; events and cursor commit together.

    Holds one connection of the pool while this replica follows. Errors (the handler's, a lost database) are
    raised: the supervisor starts again from the cursor that was committed.
    """
    steady = SteadyFeedClient(client)
    async with _leadership(database, consumer, standby_seconds=standby_seconds) as leader:
        cursor = await _stored_cursor(database, consumer)
        while True:
            page = None if cursor is None else await _read(steady, cursor)
            await leader.execute(select(1))  # raises when the lock went with its connection
            if cursor is None or page is None:
                cursor = await _begin(database, consumer, expected=cursor)
            elif page.next_cursor != cursor:
                cursor = await _apply(database, consumer, page, expected=cursor)


@asynccontextmanager
async def _leadership(
    database: Database, consumer: DatabaseConsumer, *, standby_seconds: float
) -> AsyncIterator[AsyncConnection]:
    """Wait until no other replica follows; the lock lives as long as the connection."""
    while True:
        with translate_outage():
            async with database.engine.connect() as connection:
                leader = await connection.execution_options(isolation_level="AUTOCOMMIT")
                if await leader.scalar(select(func.pg_try_advisory_lock(consumer.lock_number))):
                    try:
                        yield leader
                    finally:
                        # Closing the session frees the lock whatever state it is in.
                        await leader.invalidate()
                    return
        await asyncio.sleep(standby_seconds)


async def _read(client: SteadyFeedClient, cursor: str) -> FeedPage | None:
    """Return the next page, or None when events were missed."""
    try:
        return await client.read(
            after=cursor, wait_seconds=0 if cursor == START_OF_FEED else FOLLOW_WAIT_SECONDS
        )
    except ServiceError as error:
        if not is_gap(error):
            raise
        return None


async def _stored_cursor(database: Database, consumer: DatabaseConsumer) -> str | None:
    async with database.session() as session:
        cursors = consumer.cursors
        return await session.scalar(select(cursors.c.cursor).where(cursors.c.name == consumer.name))


async def _begin(database: Database, consumer: DatabaseConsumer, *, expected: str | None) -> str | None:
    fresh = await consumer.resync()
    async with database.begin() as session:
        stored = await _lock_cursor(session, consumer)
        if stored != expected:
            return stored
        await fresh.apply(session)
        await _store_cursor(session, consumer, fresh.cursor)
    return fresh.cursor


async def _apply(
    database: Database, consumer: DatabaseConsumer, page: FeedPage, *, expected: str
) -> str | None:
    async with database.begin() as session:
        stored = await _lock_cursor(session, consumer)
        if stored != expected:  # another replica was faster between two checks of the lock
            return stored
        for event in page.items:
            await consumer.handle(session, event)
        await _store_cursor(session, consumer, page.next_cursor)
    return page.next_cursor


async def _lock_cursor(session: AsyncSession, consumer: DatabaseConsumer) -> str | None:
    cursors = consumer.cursors
    statement = select(cursors.c.cursor).where(cursors.c.name == consumer.name).with_for_update()
    return await session.scalar(statement)


async def _store_cursor(session: AsyncSession, consumer: DatabaseConsumer, cursor: str) -> None:
    statement = insert(consumer.cursors).values(name=consumer.name, cursor=cursor)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["name"], set_={"cursor": cursor, "updated_at": func.now()}
        )
    )
