"""Fixtures of the identity service: its application over one transaction, and over a database of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from services.identity.tests.factories import settings

from undercroft.identity.main import create_app, install
from undercroft.shared.db import Database
from undercroft.shared.logs import configure_logging
from undercroft.shared.migrations import upgrade_if_behind
from undercroft.shared.testing import rolled_back_database

Replica = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(autouse=True)
def _plain_logs(fresh_logging: None) -> None:
    """Errors are logged as in production: structlog's own tracebacks take seconds each."""
    configure_logging(log_format="json", log_level="warning", service_name="identity")


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """A client that shows no principal of its own."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://identity")


@pytest.fixture
async def database(migrated_database: Callable[[str], Awaitable[str]]) -> AsyncIterator[Database]:
    """A migrated database in which nothing stays."""
    async with rolled_back_database(await migrated_database("undercroft.identity")) as rolled_back:
        yield rolled_back


@pytest.fixture
async def app(database: Database) -> FastAPI:
    """The application in the test's transaction, without background work."""
    app = create_app(settings("postgresql+asyncpg://nobody@localhost/nowhere", max_api_keys=3))
    install(app, database)
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that application."""
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def live_url(create_database: Callable[[], Awaitable[str]]) -> str:
    """The address of a migrated database in which what is committed stays."""
    url = await create_database()
    await upgrade_if_behind(url, "undercroft.identity")
    return url


@pytest.fixture
def replica(live_url: str) -> Replica:
    """Start a whole replica, background work too, and return a client of it."""

    @asynccontextmanager
    async def start(url: str = live_url, **values: object) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(settings(url, **values))
        async with LifespanManager(app), client_of(app) as client:
            yield client

    return start
