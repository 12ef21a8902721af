import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest
from sqlalchemy.engine import make_url

from undercroft.launcher import database
from undercroft.launcher.data_directory import DataDirectory
from undercroft.launcher.database import provision
from undercroft.launcher.database_servers import EmbeddedServer, ExternalServer
from undercroft.launcher.errors import DatabaseUnusableError

CreateDatabase = Callable[[], Awaitable[str]]


def new_names() -> dict[str, str]:
    # Roles belong to the whole server, which other tests use too.
    suffix = base64.b16encode(os.urandom(5)).decode().lower()
    return {f"alpha_{suffix}": "password-a", f"beta_{suffix}": "password-b"}


def libpq(url: str, *, user: str | None = None) -> str:
    parsed = make_url(url).set(drivername="postgresql")
    if user is not None:
        parsed = parsed.set(username=user)
    return parsed.render_as_string(hide_password=False)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def server(create_database: CreateDatabase) -> ExternalServer:
    return ExternalServer(libpq(await create_database()))


async def test_a_role_owns_its_schema_and_nothing_else(server: ExternalServer):
    names = new_names()
    alpha, beta = names

    await provision(server, names)

    async with connected(server.role_dsn(alpha, names[alpha])) as connection:
        await connection.execute(f"CREATE TABLE {alpha}.own (id int)")
        for forbidden in (
            f"CREATE TABLE {beta}.foreign (id int)",
            "CREATE TABLE public.common (id int)",
            "CREATE SCHEMA another",
            f"SET ROLE {beta}",
            "CREATE ROLE another",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)


async def test_a_role_cannot_read_what_another_service_wrote(server: ExternalServer):
    names = new_names()
    alpha, beta = names
    await provision(server, names)
    async with connected(server.role_dsn(beta, names[beta])) as connection:
        await connection.execute(f"CREATE TABLE {beta}.secrets AS SELECT 1 AS secret")

    async with connected(server.role_dsn(alpha, names[alpha])) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"permission denied for schema {beta}"):
            await connection.fetch(f"SELECT * FROM {beta}.secrets")


async def test_provisioning_again_changes_nothing_and_completes_what_is_missing(server: ExternalServer):
    names = new_names()
    alpha, beta = names
    await provision(server, {alpha: names[alpha]})

    await provision(server, names)
    await provision(server, names)

    async with connected(server.dsn()) as connection:
        owner = "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = $1"
        assert await connection.fetchval(owner, beta) == beta


async def test_an_owner_that_may_create_roles_is_enough(server: ExternalServer):
    names = new_names()
    owner = f"owner_{base64.b16encode(os.urandom(5)).decode().lower()}"
    async with connected(server.dsn()) as connection:
        await connection.execute(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'x'")
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f'ALTER DATABASE "{name}" OWNER TO {owner}')

    await provision(ExternalServer(libpq(server.dsn(), user=owner)), names)

    async with connected(server.role_dsn(next(iter(names)), "password-a")) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_role_without_the_right_to_create_says_what_to_do(server: ExternalServer):
    names = new_names()
    alpha, beta = names
    await provision(server, {alpha: names[alpha]})

    with pytest.raises(DatabaseUnusableError, match=r"may not set up .*: give the address of a superuser"):
        await provision(ExternalServer(server.role_dsn(alpha, names[alpha])), {beta: "x"})


async def test_a_role_that_refuses_its_password_says_what_to_do(
    server: ExternalServer, monkeypatch: pytest.MonkeyPatch
):
    connect = database._connect

    async def refuse(dsn: str) -> asyncpg.Connection:  # the tests' server trusts everybody
        if "wrong" in dsn:
            raise asyncpg.InvalidPasswordError('password authentication failed for user "x"')
        return await connect(dsn)

    names = new_names()
    await provision(server, names)
    monkeypatch.setattr(database, "_connect", refuse)

    with pytest.raises(
        DatabaseUnusableError, match=r"does not take this data directory's password \(password auth"
    ):
        await provision(server, dict.fromkeys(names, "wrong"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://admin:secret@127.0.0.1:1/platform",
        "postgresql://admin:secret@no.such.host.invalid/platform",
        "postgresql://admin:secret@127.0.0.1:1/platform?sslmode=nonsense",
        "postgresql://admin:secret@/platform?host=/no/such/place",
    ],
)
async def test_a_server_that_is_away_says_what_to_do_without_the_password(url: str):
    with pytest.raises(
        DatabaseUnusableError, match=r"^cannot connect to the database platform at .*correct --database-url$"
    ) as error:
        await provision(ExternalServer(url), new_names())

    assert "secret" not in str(error.value)


async def test_a_missing_database_says_what_to_do(server: ExternalServer):
    missing = ExternalServer(
        make_url(server.dsn()).set(database="nowhere").render_as_string(hide_password=False)
    )

    with pytest.raises(DatabaseUnusableError, match='database "nowhere" does not exist'):
        await provision(missing, new_names())


async def test_an_old_server_is_refused(server: ExternalServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "_OLDEST_VERSION", 99)

    with pytest.raises(DatabaseUnusableError, match="give the address of version 99 or newer"):
        await provision(server, new_names())


@pytest.mark.slow
async def test_the_embedded_database_is_made_and_closed_to_everybody_else(tmp_path: Path):
    embedded = EmbeddedServer(DataDirectory(tmp_path))
    embedded.start()
    try:
        embedded.wait_ready()
        await provision(embedded, {"alpha": "", "beta": ""})
        async with connected(embedded.role_dsn("alpha", "")) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("CREATE TEMPORARY TABLE t (id int)")
        async with connected(embedded.dsn()) as connection:
            await connection.execute("CREATE ROLE stranger LOGIN")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
            await asyncpg.connect(embedded.role_dsn("stranger", ""))
        assert not EmbeddedServer(DataDirectory(tmp_path)).start_or_join()
    finally:
        embedded.stop()
