"""A way to PostgreSQL that a test can close: for a replica, the server is then away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sqlalchemy.engine import make_url


class DatabaseGate:
    """Relays a local port to a server; closed, it cuts every connection, the new ones too."""

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._opened = asyncio.Event()
        self._opened.set()
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """The address through the gate."""
        through = self._target.set(host="127.0.0.1", port=self._port).difference_update_query(
            ["host", "port"]
        )
        return through.render_as_string(hide_password=False)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["DatabaseGate"]:
        """Listen for as long as the test runs."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        yield self
        self.close()
        server.close()
        while self._writers:  # noqa: ASYNC110  at the end of a test
            await asyncio.sleep(0.01)

    def open(self) -> None:
        """Let connections through again."""
        self._opened.set()

    def close(self) -> None:
        """Cut every connection from now on."""
        self._opened.clear()
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self._opened.is_set():
            server_reader, server_writer = await self._connect()
            self._writers.add(server_writer)
            if not self._opened.is_set():
                self.close()
            await asyncio.gather(self._relay(reader, server_writer), self._relay(server_reader, writer))
            self._writers.discard(server_writer)
        else:
            writer.transport.abort()
        self._writers.discard(writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host = self._target.query.get("host") or self._target.host
        port = int(str(self._target.query.get("port") or self._target.port or 5432))
        if isinstance(host, str) and host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(str(host), port)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(65_536):
                writer.write(content)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
