import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from uvicorn import Server

from undercroft.gateway.main import create_app
from undercroft.shared.command import server_config
from undercroft.shared.http_client import InProcessTransport, NetworkTransport
from undercroft.shared.testing import raw_server

from .conftest import gateway_settings
from .fakes import FakeIdentity

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


class MixedTransport(httpx.AsyncBaseTransport):
    """Identity in process, flags over the network."""

    def __init__(self, identity: FakeIdentity) -> None:
        self.network = NetworkTransport()
        self._identity = InProcessTransport({"identity": identity.app})

    async def open(self, request):  # noqa: ANN001  the exchange protocol
        is_identity = request.origin == "http://identity"
        return await (self._identity if is_identity else self.network).open(request)


class Running:
    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self.key = key

    async def send(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request.replace(b"KEY", self.key.encode()))
        await writer.drain()
        return reader, writer

    async def ask(self, request: bytes) -> bytes:
        """Return everything until the gateway closes the connection or is silent."""
        reader, writer = await self.send(request)
        received = b""
        try:
            while True:
                async with asyncio.timeout(0.4 if received else 10):
                    chunk = await reader.read(65_536)
                if not chunk:
                    break
                received += chunk
        except TimeoutError:
            received += b"<still open>"
        await close(writer)
        return received


@asynccontextmanager
async def running(answer: Answering) -> AsyncIterator[Running]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        await close(writer)

    async with raw_server(handle) as flags_port:
        identity = FakeIdentity()
        transport = MixedTransport(identity)
        settings = gateway_settings(flags_url=f"http://127.0.0.1:{flags_port}")
        app = create_app(settings, transport=transport)
        server = Server(server_config(app, host="127.0.0.1", port=0))
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  uvicorn offers nothing else
            await asyncio.sleep(0.01)
        yield Running(server.servers[0].sockets[0].getsockname()[1], identity.issue("operator"))
        server.should_exit = True
        await serving
        await transport.network.aclose()


async def fine(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    await writer.drain()


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with running(fine) as gateway:
        yield gateway


GET = b"GET /v1/flags HTTP/1.1\r\nhost: x\r\nx-api-key: KEY\r\n\r\n"


async def test_a_request_passes(gateway: Running):
    answer = await gateway.ask(GET)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert head.lower().count(b"\r\ndate:") == 1
    assert body == b"ok<still open>"


@pytest.mark.parametrize(
    "request_text",
    [
        b"POST /v1/flags HTTP/1.1\r\nhost: x\r\nx-api-key: KEY\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/flags HTTP/1.1\r\nhost: x\r\nx-api-key: KEY\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        b"POST /v1/flags HTTP/1.1\r\nhost: x\r\nx-api-key: KEY\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /v1/flags HTTP/1.1\r\nhost: x\r\nx-api-key: KEY\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/flags HTTP/1.1\r\nhost: x\r\nx-api-key: KEY\r\n folded: x\r\n\r\n",
        b"GET /v1/flags HTTP/1.1\nhost: x\nx-api-key: KEY\n\n",
        b"GET /v1/flags HTTP/1.1\r\nhost: x\r\nx y: z\r\n\r\n",
        b"GET /v1/../internal/events HTTP/1.1\r\nhost: x\r\nx-api-key: KEY\r\n\r\n",
        b"GET /v1/flags HTTP/1.1\r\nhost: x\r\nhost: y\r\nx-api-key: KEY\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=[
        "both lengths",
        "two lengths",
        "bad chunk",
        "two codings",
        "folded header",
        "bare line feeds",
        "bad header name",
        "dot segments",
        "two hosts",
        "asterisk",
    ],
)
async def test_what_has_two_readings_is_refused(gateway: Running, request_text: bytes):
    assert (await gateway.ask(request_text)).startswith(b"HTTP/1.1 400 ")


async def test_a_refused_body_ends_the_connection(gateway: Running):
    request = b"POST /v1/flags HTTP/1.1\r\nhost: x\r\nx-api-key: KEY\r\ncontent-length: 99999999\r\n\r\n"
    answer = await gateway.ask(request)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"payload_too_large" in answer
    assert not answer.endswith(b"<still open>")


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
    ids=["length", "chunked"],
)
async def test_an_answer_that_is_cut_ends_the_connection(cut: bytes):
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(cut)
        await writer.drain()

    async with running(answer) as gateway:
        received = await gateway.ask(GET)
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert b"half" in received
    assert not received.endswith((b"<still open>", b"0\r\n\r\n"))


async def test_nonsense_is_a_bad_gateway():
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"I AM NOT HTTP\r\n\r\n")
        await writer.drain()

    async with running(answer) as gateway:
        received = await gateway.ask(GET)
    assert received.startswith(b"HTTP/1.1 502 ")
    assert b'"code":"bad_gateway"' in received


@pytest.mark.parametrize("has_begun", [False, True], ids=["before the answer", "within the answer"])
async def test_a_caller_who_hangs_up_ends_the_call_behind(*, has_begun: bool):
    hung_up = asyncio.Event()
    arrived = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if has_begun:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n")
            await writer.drain()
        arrived.set()
        await reader.read(1)
        hung_up.set()

    async with running(answer) as gateway:
        reader, writer = await gateway.send(GET)
        await arrived.wait()
        if has_begun:
            assert b"data: 1" in await asyncio.wait_for(reader.readuntil(b"data: 1"), 1)
        await close(writer)
        await asyncio.wait_for(hung_up.wait(), 2)
