"""What is set up in the database: one role and one schema for each service, before its migrations run."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final

import asyncpg  # type: ignore[import-untyped]  # it ships no types

from undercroft.launcher.database_servers import DATABASE, DatabaseServer
from undercroft.launcher.errors import DatabaseUnusableError

_CONNECT_TIMEOUT_SECONDS: Final = 10
_OLDEST_VERSION: Final = 18  # uuidv7()
# Two launchers on one server take turns; the number is arbitrary and ours.
_LOCK: Final = 7_236_842_193_771
_CONNECT_ERRORS: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)


async def provision(server: DatabaseServer, passwords: Mapping[str, str]) -> None:
    """Make what is missing of the roles and schemas that the keys of `passwords` name.

    A role owns its schema, may connect, and may do nothing else: neither create in `public` nor enter another's
    schema. All of it is one transaction. Raises `DatabaseUnusableError`.
    """
    async with _admin(server) as connection:
        if await _find_missing(connection, passwords):
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                missing = await _find_missing(connection, passwords)
                for statement in await _statements(connection, server, missing):
                    await connection.execute(statement)
    if not server.is_ours:
        for role, password in passwords.items():
            await _try_role(server, role, password)


async def _find_missing(connection: asyncpg.Connection, passwords: Mapping[str, str]) -> dict[str, str]:
    """Return the name and password of each service that lacks its role or its schema."""
    names: list[str] = await connection.fetchval(
        "SELECT coalesce(array_agg(name), '{}') FROM unnest($1::text[]) AS name"
        " WHERE to_regrole(name) IS NULL OR to_regnamespace(name) IS NULL",
        list(passwords),
    )
    return {name: passwords[name] for name in names}


async def _statements(
    connection: asyncpg.Connection, server: DatabaseServer, missing: Mapping[str, str]
) -> list[str]:
    roles = {row[0] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
    is_superuser = await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    database = _quoted(await connection.fetchval("SELECT current_database()"))
    statements: list[str] = []
    if server.is_ours:
        # By default everybody may connect, make temporary tables and look into `public`.
        statements += [
            f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        ]
    for name, password in missing.items():
        role = _quoted(name)
        if name not in roles:
            secret = "" if server.is_ours else f" PASSWORD '{password}'"
            statements.append(f"CREATE ROLE {role} LOGIN{secret}")
            if not is_superuser:
                # Who may create roles may not yet act for them, and a schema is made in its owner's name.
                statements.append(f"GRANT {role} TO CURRENT_USER WITH SET TRUE")
        statements += [
            f"GRANT CONNECT ON DATABASE {database} TO {role}",
            f"CREATE SCHEMA IF NOT EXISTS {role} AUTHORIZATION {role}",
        ]
    return statements


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


@contextlib.asynccontextmanager
async def _admin(server: DatabaseServer) -> AsyncIterator[asyncpg.Connection]:
    connection = await _connect_as_admin(server)
    try:
        major = connection.get_server_version().major
        if major < _OLDEST_VERSION:
            raise DatabaseUnusableError(
                f"the server of {server.place} is PostgreSQL {major}: give the address of version {_OLDEST_VERSION} or newer"
            )
        yield connection
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseUnusableError(
            f"the role of --database-url may not set up {server.place} ({_reason(error)}): give the address of a "
            "superuser, or of the database's owner with the attribute CREATEROLE"
        ) from error
    finally:
        await connection.close()


async def _connect_as_admin(server: DatabaseServer) -> asyncpg.Connection:
    try:
        try:
            return await _connect(server.dsn())
        except asyncpg.InvalidCatalogNameError:
            if not server.is_ours:
                raise
            await _create_database(server)
            return await _connect(server.dsn())
    except _CONNECT_ERRORS as error:
        raise DatabaseUnusableError(
            f"cannot connect to the database {server.place} ({_reason(error)}): "
            "see that it runs and exists, or correct --database-url"
        ) from error


async def _connect(dsn: str) -> asyncpg.Connection:
    return await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_SECONDS)


async def _create_database(server: DatabaseServer) -> None:
    connection = await _connect(server.dsn(database="postgres"))
    try:
        await connection.execute(f"CREATE DATABASE {_quoted(DATABASE)}")
    finally:
        await connection.close()


async def _try_role(server: DatabaseServer, role: str, password: str) -> None:
    try:
        connection = await _connect(server.role_dsn(role, password))
    except _CONNECT_ERRORS as error:
        raise DatabaseUnusableError(
            f"the role {role} of {server.place} does not take this data directory's password ({_reason(error)}): "
            "use the data directory that set the database up, or another database"
        ) from error
    await connection.close()


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no answer in time"
