import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy.exc import IntegrityError

from undercroft.shared.db import Database, SessionDep, metadata_for
from undercroft.shared.errors import UnavailableError

metadata = metadata_for("things")
things = sa.Table("things", metadata, sa.Column("name", sa.Text, primary_key=True))
later = sa.Table(
    "later",
    metadata,
    sa.Column("name", sa.Text, sa.ForeignKey(things.c.name, deferrable=True, initially="DEFERRED")),
)


@pytest.fixture(scope="module")
async def url(create_database: Callable[[], Awaitable[str]]) -> str:
    return await create_database()


@pytest.fixture(scope="module")
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url, application_name="test", pool_size=2, statement_timeout_seconds=1)
    async with database.begin() as session:
        await session.execute(sa.text("CREATE SCHEMA things"))
        await session.run_sync(lambda sync: metadata.create_all(sync.connection()))
    yield database
    await database.dispose()


def app_on(database: Database) -> FastAPI:
    app = FastAPI()
    app.state.database = database

    @app.post("/things/{name}")
    async def create(name: str, session: SessionDep) -> str:
        await session.execute(things.insert().values(name=name))
        if name == "broken":
            raise UnavailableError
        return name

    @app.post("/later/{name}")
    async def create_later(name: str, session: SessionDep) -> str:
        await session.execute(later.insert().values(name=name))
        return name

    return app


def client_of(app: FastAPI) -> AsyncClient:
    return AsyncClient(transport=ASGITransport(app), base_url="http://things")


async def names(database: Database) -> set[str]:
    async with database.session() as session:
        return set(await session.scalars(sa.select(things.c.name)))


async def test_a_request_commits_before_it_answers(database: Database) -> None:
    async with client_of(app_on(database)) as client:
        assert (await client.post("/things/kept")).status_code == 200
    assert "kept" in await names(database)


async def test_an_error_rolls_everything_back(database: Database) -> None:
    async with client_of(app_on(database)) as client:
        with pytest.raises(UnavailableError):
            await client.post("/things/broken")
    assert "broken" not in await names(database)


async def test_a_failing_commit_is_an_error_and_never_an_answer(database: Database) -> None:
    async with client_of(app_on(database)) as client:
        with pytest.raises(IntegrityError):
            await client.post("/later/orphan")


async def test_begin_commits_on_success(database: Database) -> None:
    async with database.begin() as session:
        await session.execute(things.insert().values(name="begun"))
    assert "begun" in await names(database)


async def test_a_statement_beyond_its_time_is_ended(database: Database) -> None:
    async with database.session() as session:
        with pytest.raises(sa.exc.DBAPIError, match="statement timeout"):
            await session.execute(sa.text("SELECT pg_sleep(3)"))


async def test_a_lost_connection_is_an_outage(database: Database) -> None:
    with pytest.raises(UnavailableError) as caught:
        async with database.session() as session:
            await session.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert caught.value.code == "database_unavailable"
    await database.ping()


async def test_connections_that_a_restarted_server_closed_are_replaced_unnoticed(
    database: Database, url: str
) -> None:
    async with database.session() as first, database.session() as second:
        await first.execute(sa.text("SELECT 1"))
        await second.execute(sa.text("SELECT 1"))
    killer = Database(url, application_name="killer", pool_size=1)
    async with killer.session() as session:
        await session.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test' AND datname = current_database()"
            )
        )
    await killer.dispose()
    await asyncio.sleep(0.1)
    await database.ping()
    await database.ping()


async def test_a_read_sees_what_others_commit_meanwhile(database: Database) -> None:
    async with database.read() as session:
        await session.scalar(sa.text("SELECT count(*) FROM things.things"))
        async with database.begin() as writer:
            await writer.execute(things.insert().values(name="meanwhile"))
        assert "meanwhile" in set(await session.scalars(sa.select(things.c.name)))


async def test_a_server_that_is_away_is_an_outage() -> None:
    away = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nowhere", application_name="test")
    with pytest.raises(UnavailableError):
        await away.ping()
    await away.dispose()


async def test_an_exhausted_pool_is_an_outage(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("undercroft.shared.db._POOL_TIMEOUT_SECONDS", 0.05)
    small = Database(url, application_name="test", pool_size=1)
    async with small.session() as session:
        await session.execute(sa.text("SELECT 1"))
        with pytest.raises(UnavailableError):
            await small.ping()
    await small.dispose()


async def test_a_wrong_statement_is_no_outage(database: Database) -> None:
    async with database.session() as session:
        with pytest.raises(sa.exc.ProgrammingError):
            await session.execute(sa.text("SELECT nothing FROM nowhere"))
