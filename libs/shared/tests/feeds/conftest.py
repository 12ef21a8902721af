"""An owner of events with committed data: what a feed shows depends on real commits, so nothing is rolled back."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.shared.db import Database, metadata_for
from undercroft.shared.events import Event
from undercroft.shared.events.consumers import feed_cursor_table
from undercroft.shared.events.outbox import outbox_table, publish
from undercroft.shared.notifications import NotificationListener


@pytest.fixture(scope="session")
async def feed_database_url(create_database: Callable[[], Awaitable[str]]) -> str:
    return await create_database()


@pytest.fixture
async def database(feed_database_url: str) -> AsyncIterator[Database]:
    database = Database(feed_database_url, application_name="tests", pool_size=6)
    yield database
    await database.dispose()


@pytest.fixture
async def metadata(database: Database) -> sa.MetaData:
    """The tables of a schema of its own for each test: an outbox, followed feeds and the effects of events."""
    metadata = metadata_for(f"owner_{uuid.uuid4().hex}")
    outbox_table(metadata)
    feed_cursor_table(metadata)
    sa.Table("effects", metadata, sa.Column("subject", sa.Text))
    async with database.engine.begin() as connection:
        await connection.execute(sa.schema.CreateSchema(str(metadata.schema)))
        await connection.run_sync(metadata.create_all)
    return metadata


@pytest.fixture
def outbox(metadata: sa.MetaData) -> sa.Table:
    return metadata.tables[f"{metadata.schema}.outbox"]


@pytest.fixture
def cursors(metadata: sa.MetaData) -> sa.Table:
    return metadata.tables[f"{metadata.schema}.feed_cursors"]


@pytest.fixture
def effects(metadata: sa.MetaData) -> sa.Table:
    return metadata.tables[f"{metadata.schema}.effects"]


@pytest.fixture
def emit(database: Database, outbox: sa.Table) -> Callable[..., Awaitable[None]]:
    """Publish events named by their subjects, in a transaction of their own or in `session`."""

    async def emit(*subjects: str, session: AsyncSession | None = None) -> None:
        events = [Event(type="dev.undercroft.test.happened", subject=subject) for subject in subjects]
        if session is not None:
            await publish(session, outbox, *events)
            return
        async with database.begin() as own:
            await publish(own, outbox, *events)

    return emit


@pytest.fixture
async def listener(feed_database_url: str) -> AsyncIterator[NotificationListener]:
    async with NotificationListener(feed_database_url) as listener:
        yield listener
