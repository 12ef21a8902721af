"""A pytest plugin: the real database, migrated once and rolled back after each test, signed principals, fresh logging.

Set `UNDERCROFT_TEST_DATABASE_URL` (a superuser's `postgresql+asyncpg://` address) to use a server of your own; without
it the embedded PostgreSQL is started for the session.
"""

import asyncio
import base64
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
import sqlalchemy as sa
import structlog
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import SecretStr
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from typing_extensions import override

from undercroft.shared import logs
from undercroft.shared.app import iter_routes
from undercroft.shared.auth import (
    GATEWAY,
    PRINCIPAL_HEADER,
    Kind,
    Principal,
    PrincipalKeys,
    PrincipalSigner,
    Requires,
    generate_principal_keys,
    is_public,
    require_service,
)
from undercroft.shared.db import Database, translate_outage

TEST_SECRET: Final = SecretStr("only-for-tests-" + "0" * 32)
TEST_DEPLOYABLES: Final = ("gateway", "identity", "flags")

_KEYS = generate_principal_keys(TEST_SECRET, TEST_DEPLOYABLES)


def principal_keys(name: str) -> dict[str, SecretStr]:
    """Return the principal keys that a deployable is given in tests."""
    return {pair: SecretStr(key) for pair, key in _KEYS[name].items()}


class SignedHeaders(Mapping[str, str]):
    """The header of a principal, signed when it is read: a constant of a test module never expires."""

    def __init__(self, principal: Principal, *, audience: str, issuer: str) -> None:
        self._principal = principal
        self._audience = audience
        self._signer = PrincipalSigner(issuer, PrincipalKeys(principal_keys(issuer)))

    @override
    def __getitem__(self, name: str) -> str:
        if name != PRINCIPAL_HEADER:
            raise KeyError(name)
        return self._signer.header_for(self._principal, self._audience)

    @override
    def __iter__(self) -> Iterator[str]:
        return iter((PRINCIPAL_HEADER,))

    @override
    def __len__(self) -> int:
        return 1


def principal_headers(principal: Principal, *, audience: str, issuer: str = GATEWAY) -> Mapping[str, str]:
    """Sign a principal as the gateway (or another deployable) would."""
    return SignedHeaders(principal, audience=audience, issuer=issuer)


def service_headers(issuer: str, *, audience: str) -> Mapping[str, str]:
    """Sign a principal with which one deployable calls another."""
    return principal_headers(Principal(subject=issuer, kind="service"), audience=audience, issuer=issuer)


def api_key_principal(
    *scopes: str, organization_id: UUID | None = None, environment: str | None = None
) -> Principal:
    """Return the principal of an API key with these scopes."""
    kind: Kind = "operator" if "operator" in scopes else "api_key"
    return Principal(
        subject="key_01h455vb4pex5vsknk084sn02q",
        kind=kind,
        organization_id=organization_id,
        scopes=frozenset(scopes),
        environment=environment,
    )


class RolledBackDatabase(Database):
    """A database whose every commit is a savepoint of one transaction that is rolled back at the end."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.engine = connection.engine

    @asynccontextmanager
    @override
    async def session(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(
            bind=self._connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
        ) as session:
            with translate_outage():
                yield session

    @asynccontextmanager
    @override
    async def read(self) -> AsyncIterator[AsyncSession]:
        async with self.session() as session:
            yield session

    @override
    async def dispose(self) -> None:
        """Leave the connection to the fixture that made it."""


@asynccontextmanager
async def rolled_back_database(url: str) -> AsyncIterator[Database]:
    """Open a connection, hand out sessions on it, and undo everything at the end."""
    engine = create_async_engine(url, poolclass=sa.NullPool)
    async with engine.connect() as connection:
        transaction = await connection.begin()
        try:
            yield RolledBackDatabase(connection)
        finally:
            await transaction.rollback()
    await engine.dispose()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[URL]:
    """Yield a superuser's address on the session's PostgreSQL server."""
    given = os.environ.get("UNDERCROFT_TEST_DATABASE_URL")
    if given:
        yield make_url(given)
        return
    from undercroft.shared.postgres_server import PostgresServer

    with tempfile.TemporaryDirectory(prefix="uc-test-") as directory:
        server = PostgresServer(Path(directory) / "postgres", durable=False)
        with server:
            yield make_url(server.url("postgres", "postgres"))


@pytest.fixture(scope="session")
def create_database(postgres_url: URL) -> Callable[[], Awaitable[str]]:
    """Return a function that makes an empty database and returns a superuser's address of it."""

    async def create() -> str:
        name = f"test_{base64.b16encode(os.urandom(6)).decode().lower()}"
        engine = create_async_engine(postgres_url, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
        await engine.dispose()
        return postgres_url.set(database=name).render_as_string(hide_password=False)

    return create


@pytest.fixture(scope="session")
def migrated_database(create_database: Callable[[], Awaitable[str]]) -> Callable[[str], Awaitable[str]]:
    """Return a function that makes a database migrated to the head of a package such as `undercroft.flags`."""
    made: dict[str, str] = {}

    async def migrated(package: str) -> str:
        from undercroft.shared.migrations import upgrade_if_behind

        if package not in made:
            url = await create_database()
            await upgrade_if_behind(url, package)
            made[package] = url
        return made[package]

    return migrated


@asynccontextmanager
async def autocommit_connection(url: str) -> AsyncIterator[AsyncConnection]:
    """Open a connection whose every statement commits by itself, as in psql."""
    engine = create_async_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@asynccontextmanager
async def power_cut(connection: AsyncConnection, table: str, *, at: str) -> AsyncIterator[None]:
    """Cut off whatever updates the row of a table that `at` describes, an SQL condition on `NEW`, in this block."""
    function = "public.power_cut"
    await connection.exec_driver_sql(
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'power cut'; END $$"
    )
    await connection.exec_driver_sql(
        f"CREATE TRIGGER power_cut BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({at}) EXECUTE FUNCTION {function}()"
    )
    try:
        yield
    finally:
        await connection.exec_driver_sql(f"DROP FUNCTION {function} CASCADE")


@pytest.fixture
def fresh_logging() -> Iterator[None]:
    """Let nothing be configured yet, and give logging back as it was: it belongs to the process, not to a test."""
    process, formatter, configuration = logs._process, logs._handler.formatter, structlog.get_config()  # noqa: SLF001
    with _loggers_restored():
        logs._process = logs._Process(loggers=process.loggers)  # noqa: SLF001
        structlog.contextvars.clear_contextvars()
        yield
        structlog.contextvars.clear_contextvars()
        for logger in process.loggers.values():
            vars(logger).pop("bind", None)  # the configuration of its first line
        logs._process = process  # noqa: SLF001
        logs._handler.setFormatter(formatter)  # noqa: SLF001
        structlog.configure(**configuration)


@contextmanager
def _loggers_restored() -> Iterator[None]:
    known = [each for each in logging.Logger.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    before = [
        (each, each.level, each.propagate, list(each.handlers), list(each.filters))
        for each in (logging.getLogger(), *known)
    ]
    yield
    for logger, level, propagates, handlers, filters in before:
        logger.setLevel(level)
        logger.propagate = propagates
        logger.handlers[:] = handlers
        logger.filters[:] = filters


ConnectionHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(
    handle: ConnectionHandler, **options: Any
) -> AsyncIterator[int]:  # asyncio.start_server's own
    """Serve raw connections on a free port of 127.0.0.1; at the end none of them is left."""
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in a task
        connections[task] = writer
        await handle(reader, writer)

    server = await asyncio.start_server(tracked, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task, writer in connections.items():
            task.cancel()
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
        await asyncio.gather(*connections, return_exceptions=True)


def unguarded_routes(app: FastAPI) -> list[str]:
    """List every route that neither demands a scope, nor a service's principal, nor is marked public."""
    return [
        f"{','.join(sorted(route.methods or ()))} {route.path}"
        for route in iter_routes(app)
        if not (is_public(route.endpoint) or _is_guarded(route))
    ]


def _is_guarded(route: APIRoute) -> bool:
    pending = list(route.dependant.dependencies)
    while pending:
        dependant = pending.pop()
        if dependant.call is require_service or isinstance(dependant.call, Requires):
            return True
        pending.extend(dependant.dependencies)
    return False
