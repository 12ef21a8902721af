"""Single reads on hot paths: one prepared statement each, past the ORM and its pool, which take longer than the read."""

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, Protocol

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy import Select
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.engine import make_url

from undercroft.shared.db import Database, translate_outage
from undercroft.shared.errors import UnavailableError

_TIMEOUT_SECONDS: Final = 5.0
_OUTAGES: Final = (OSError, TimeoutError, asyncpg.PostgresConnectionError,
                   asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError, asyncpg.TooManyConnectionsError)  # fmt: skip


class Reads(Protocol):
    """Reads one row of what is committed."""

    async def find(
        self, statement: Select[*tuple[Any, ...]], values: Mapping[str, object]
    ) -> Any | None:  # a row of any shape
        """Return the row of a statement that has at most one; raises `UnavailableError`."""


class SessionReads:
    """Reads through the pool that everything else uses, inside whatever transaction its connection is in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, statement: Select[*tuple[Any, ...]], values: Mapping[str, object]) -> Any | None:
        """Return the row of a statement that has at most one."""
        async with self._database.read() as session:
            return (await session.execute(statement, values)).one_or_none()


class PreparedReads:
    """Keeps a few connections of its own; each statement is prepared once on each."""

    def __init__(self, database_url: str, *, size: int, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self._dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(size)
        self._idle: list[asyncpg.Connection] = []

    async def find(self, statement: Select[*tuple[Any, ...]], values: Mapping[str, object]) -> Any | None:
        """Return the row of a statement that has at most one; raises `UnavailableError`."""
        sql, names, constants = _compiled(statement)
        with translate_outage():
            try:
                return await self._fetch(sql, [values.get(name, constants[name]) for name in names])
            except _OUTAGES as error:
                raise UnavailableError(
                    "The database is not available at the moment.", code="database_unavailable"
                ) from error

    async def close(self) -> None:
        """Close every connection that nobody uses."""
        while self._idle:
            await self._idle.pop().close(timeout=1)

    async def _fetch(self, sql: str, arguments: list[object]) -> Any | None:
        async with self._slots:
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    break
            else:
                connection = await asyncpg.connect(
                    self._dsn,
                    timeout=self._timeout_seconds,
                    command_timeout=self._timeout_seconds,
                    server_settings={"application_name": "identity-reads", "jit": "off"},
                )
            try:
                row = await connection.fetchrow(sql, *arguments)
            except BaseException:
                connection.terminate()  # in whatever state it is
                raise
            self._idle.append(connection)
            return row


@cache
def _compiled(statement: Select[*tuple[Any, ...]]) -> tuple[str, tuple[str, ...], Mapping[str, object]]:
    """Return a statement's text, its parameters in order, and the values that it brings along."""
    compiled = statement.compile(dialect=dialect())  # type: ignore[no-untyped-call]  # SQLAlchemy's own
    return str(compiled), tuple(compiled.positiontup or ()), compiled.params
