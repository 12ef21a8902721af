"""Fixtures of the identity service: its application over one transaction, and over a database of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from joserfc.jwk import ECKey, RSAKey
from services.identity.tests.factories import settings
from services.identity.tests.oauth_flows import Visitor, visitor

from undercroft.identity.dependencies.accounts import close_accounts
from undercroft.identity.domain.attempts import AttemptLimit
from undercroft.identity.domain.signing_keys import Algorithm
from undercroft.identity.main import create_app, install
from undercroft.identity.service.signing import generate_key
from undercroft.shared.db import Database
from undercroft.shared.logs import configure_logging
from undercroft.shared.migrations import upgrade_if_behind
from undercroft.shared.testing import rolled_back_database

Replica = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(autouse=True)
def _plain_logs(fresh_logging: None) -> None:
    """Errors are logged as in production: structlog's own tracebacks take seconds each."""
    configure_logging(log_format="json", log_level="warning", service_name="identity")


@pytest.fixture(scope="session")
def rsa_keys() -> list[ECKey | RSAKey]:
    """Keys that take a tenth of a second each, made once."""
    return [generate_key("RS256") for _ in range(4)]


@pytest.fixture(autouse=True)
def _ready_made_keys(monkeypatch: pytest.MonkeyPatch, rsa_keys: list[ECKey | RSAKey]) -> None:
    """Let no test wait for the first RSA keys of its database."""
    ready = list(rsa_keys)

    def make(algorithm: Algorithm) -> ECKey | RSAKey:
        return ready.pop() if algorithm == "RS256" and ready else generate_key(algorithm)

    monkeypatch.setattr("undercroft.identity.dependencies.signing.generate_key", make)


@pytest.fixture
def long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts beyond the free ones wait a minute, so that a slow machine does not let them pass."""

    def wait_seconds(limit: AttemptLimit, attempts: int) -> int:
        return 0 if attempts < limit.free else 60

    monkeypatch.setattr(AttemptLimit, "wait_seconds", wait_seconds)


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """A client that shows no principal of its own."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://identity")


@pytest.fixture
async def database(migrated_database: Callable[[str], Awaitable[str]]) -> AsyncIterator[Database]:
    """A migrated database in which nothing stays."""
    async with rolled_back_database(await migrated_database("undercroft.identity")) as rolled_back:
        yield rolled_back


@pytest.fixture
async def app(database: Database) -> AsyncIterator[FastAPI]:
    """The application in the test's transaction, without background work."""
    limits = {"max_api_keys": 3, "free_attempts_per_account": 5, "free_attempts_per_address": 30}
    app = create_app(settings("postgresql+asyncpg://nobody@localhost/nowhere", **limits))
    install(app, database)
    yield app
    await close_accounts(app)


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


@pytest.fixture
async def who(database: Database) -> Visitor:
    """Somebody signed in, with an organization."""
    return await visitor(database)
