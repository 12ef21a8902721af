"""PostgreSQL through SQLAlchemy 2 and asyncpg: one pool for a deployable, one transaction for a request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import MetaData, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from undercroft.shared.errors import UnavailableError

_NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
_CONNECT_TIMEOUT_SECONDS = 5
_POOL_TIMEOUT_SECONDS = 5
_ADMIN_SHUTDOWN_CLASSES = ("57P", "08", "53")


def metadata_for(schema: str) -> MetaData:
    """Return the metadata of one service: its schema and the naming convention that migrations rely on."""
    return MetaData(schema=schema, naming_convention=_NAMING_CONVENTION)


class Database:
    """The pool of one deployable.

    Connections are made on demand; creating a `Database` touches nothing. Statements longer than
    `statement_timeout_seconds` and transactions idle for longer than 60 s are ended by the server.
    """

    def __init__(
        self,
        url: str,
        *,
        application_name: str,
        pool_size: int = 10,
        statement_timeout_seconds: float = 10,
    ) -> None:
        connect_args: dict[str, Any] = {  # asyncpg's own keyword arguments
            "timeout": _CONNECT_TIMEOUT_SECONDS,
            "server_settings": {
                "application_name": application_name,
                "statement_timeout": str(int(statement_timeout_seconds * 1000)),
                "idle_in_transaction_session_timeout": "60000",
                "timezone": "UTC",
                "jit": "off",
            },
        }
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_POOL_TIMEOUT_SECONDS,
            pool_recycle=1800,
            connect_args=connect_args,
        )
        # Pre-ping would cost three round trips a request; asyncpg knows by itself that a server went away.
        event.listen(self.engine.sync_engine, "checkout", _refuse_closed)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        self._readers = async_sessionmaker(self.engine.execution_options(isolation_level="AUTOCOMMIT"))

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Open a session; the caller commits. Raises `UnavailableError` when PostgreSQL is away."""
        async with self._sessions() as session:
            with translate_outage():
                yield session

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Open a session whose every statement stands alone: one round trip each, for single reads on hot paths."""
        async with self._readers() as session:
            with translate_outage():
                yield session

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """Open a session and commit it on success, roll it back on any error."""
        async with self.session() as session, session.begin():
            yield session

    async def ping(self) -> None:
        """Ask the server for one row; raises `UnavailableError` when it does not answer."""
        async with self.session() as session:
            await session.execute(text("SELECT 1"))

    async def dispose(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def _refuse_closed(connection: Any, *_: object) -> None:  # the event's own signature
    if connection.driver_connection.is_closed():
        raise DisconnectionError


class translate_outage:  # noqa: N801  a context manager that reads as a verb
    """Turn lost connections, refused connections and exhausted pools into `UnavailableError`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and is_outage(error):
            raise UnavailableError(
                "The database is not available at the moment.", code="database_unavailable"
            ) from (error)


def is_outage(error: BaseException) -> bool:
    """Tell whether an error means that PostgreSQL is away rather than that the statement was wrong."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        if error.connection_invalidated or str(state).startswith(_ADMIN_SHUTDOWN_CLASSES):
            return True
        return isinstance(error, InterfaceError | OperationalError) and not state
    return isinstance(error, OSError | PoolTimeoutError)


def get_database(request: Request) -> Database:
    """Return the deployable's pool (set by its lifespan)."""
    database: Database = request.app.state.database
    return database


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """Open the request's one session and commit it when the route returned without an error.

    A route that runs under an Idempotency-Key already has one; whoever opened it commits it.
    """
    pinned: AsyncSession | None = getattr(request.state, "session", None)
    if pinned is not None:
        yield pinned
        return
    async with get_database(request).session() as session:
        yield session
        await session.commit()


# The default scope would commit after the response is sent: a failed commit would look like success.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
