"""Fixtures of the flags service: its application over one transaction, and over a database of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from services.flags.tests.database_gate import DatabaseGate
from services.flags.tests.factories import operator, settings
from services.flags.tests.ofrep_answers import check_async
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from undercroft.flags.main import create_app, install
from undercroft.shared.db import Database
from undercroft.shared.logs import configure_logging
from undercroft.shared.migrations import upgrade_if_behind
from undercroft.shared.testing import rolled_back_database

SPECIFICATIONS = Path(__file__).resolve().parents[4] / "shared" / "specs" / "openfeature"

Replica = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(scope="session")
def specifications() -> Path:
    """The folder of machine-readable OpenFeature files; skips where the repository stands alone."""
    if not SPECIFICATIONS.is_dir():
        pytest.skip(f"OpenFeature's own suites are not in {SPECIFICATIONS}")
    return SPECIFICATIONS


@pytest.fixture(autouse=True)
def logging(fresh_logging: None) -> None:
    """Log as in production; the default renders every local variable of a traceback and takes seconds."""
    configure_logging(log_format="json", log_level="error", service_name="flags")


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """A client with an operator's principal; each OFREP answer that it receives is held against the schema."""
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(
        transport=transport,
        base_url="http://flags",
        headers=operator(),
        event_hooks={"response": [check_async]},
    )


@pytest.fixture
async def database(migrated_database: Callable[[str], Awaitable[str]]) -> AsyncIterator[Database]:
    """A migrated database in which nothing stays."""
    async with rolled_back_database(await migrated_database("undercroft.flags")) as rolled_back:
        yield rolled_back


@pytest.fixture
async def app(database: Database) -> FastAPI:
    """The application in the test's transaction, without background work."""
    app = create_app(
        settings("postgresql+asyncpg://nobody@localhost/nowhere", max_environments=5, max_flags=5)
    )
    install(app, database)
    await app.state.snapshot_refresher.refresh()
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """An operator's client of that application."""
    async with client_of(app) as client:
        yield client


@pytest.fixture(scope="session")
async def live_url(create_database: Callable[[], Awaitable[str]]) -> str:
    """The address of a migrated database in which what is committed stays."""
    url = await create_database()
    await upgrade_if_behind(url, "undercroft.flags")
    return url


@pytest.fixture
async def admin(live_url: str) -> AsyncIterator[AsyncEngine]:
    """A superuser's connection to the replicas' database, starting with an empty production."""
    engine = create_async_engine(live_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(sa.text("TRUNCATE flags.flags, flags.definitions CASCADE"))
        await connection.execute(
            sa.text(
                "UPDATE flags.environments SET frame = '{\"flags\":{}}', version = nextval('flags.revisions')"
            )
        )
    yield engine
    await engine.dispose()


@pytest.fixture
async def gate(live_url: str) -> AsyncIterator[DatabaseGate]:
    """A way to that database which the test can close."""
    async with DatabaseGate(live_url).listening() as gate:
        yield gate


@pytest.fixture
def replica(gate: DatabaseGate) -> Replica:
    """Start a whole replica, background work too, and return an operator's client of it."""

    @asynccontextmanager
    async def start(**values: object) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(settings(gate.url, **values))
        async with LifespanManager(app), client_of(app) as client:
            yield client

    return start
