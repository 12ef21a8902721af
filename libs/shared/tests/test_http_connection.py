import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from undercroft.shared.http_client import NetworkLimits, NetworkTransport, Outgoing, Timeouts
from undercroft.shared.testing import raw_server

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers the n-th request of all connections with the n-th answer; None closes without one."""

    def __init__(self, answers: list[bytes | None]) -> None:
        self.answers = answers
        self.requests: list[bytes] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if b"connection: close" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, IndexError):
            pass
        writer.close()


@asynccontextmanager
async def serve(*answers: bytes | None) -> AsyncIterator[tuple[str, Server]]:
    server = Server(list(answers))
    async with raw_server(server.handle) as port:
        yield f"http://127.0.0.1:{port}", server


@pytest.fixture
async def transport() -> AsyncIterator[NetworkTransport]:
    transport = NetworkTransport(NetworkLimits(max_idle_per_origin=2))
    yield transport
    await transport.aclose()


async def call(
    transport: NetworkTransport, origin: str, method: str = "GET", **options: Any
) -> tuple[int, bytes]:
    exchange = await transport.open(Outgoing(method, origin, "/", timeouts=Timeouts(read=1), **options))
    try:
        content = b""
        while chunk := await exchange.read():
            content += chunk
        return exchange.status, content
    finally:
        await exchange.aclose()


async def test_a_connection_is_used_again(transport: NetworkTransport):
    async with serve(OK, OK, OK) as (origin, server):
        answers = [await call(transport, origin) for _ in range(3)]
    assert answers == [(200, b"ok")] * 3
    assert server.connections == 1


async def test_a_connection_is_used_again_after_head(transport: NetworkTransport):
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"
    async with serve(head, OK) as (origin, server):
        assert await call(transport, origin, "HEAD") == (200, b"")
        assert await call(transport, origin) == (200, b"ok")
    assert server.connections == 1


async def test_an_answer_that_says_close_is_taken_at_its_word(transport: NetworkTransport):
    async with serve(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), OK) as (origin, server):
        assert await call(transport, origin) == (200, b"ok")
        assert await call(transport, origin) == (200, b"ok")
    assert server.connections == 2


async def test_a_kept_connection_that_was_closed_is_replaced(transport: NetworkTransport):
    async with serve(OK, None, OK) as (origin, server):
        await call(transport, origin)
        assert await call(transport, origin) == (200, b"ok")
    assert server.connections == 2


async def test_a_post_is_not_sent_twice(transport: NetworkTransport):
    async with serve(OK, None, OK) as (origin, server):
        await call(transport, origin)
        with pytest.raises(httpx.RemoteProtocolError):
            await call(transport, origin, "POST", body=b"x")
    assert len(server.requests) == 2


async def test_connections_that_were_idle_too_long_are_not_used():
    transport = NetworkTransport(NetworkLimits(idle_seconds=0))
    async with serve(OK, OK) as (origin, server):
        await call(transport, origin)
        await asyncio.sleep(0.01)
        await call(transport, origin)
        assert server.connections == 2
        await transport.aclose()


async def test_no_more_connections_are_kept_than_allowed(transport: NetworkTransport):
    async with serve(*[OK] * 4) as (origin, server):
        await asyncio.gather(*(call(transport, origin) for _ in range(4)))
        await asyncio.sleep(0.05)
        assert server.connections == 4
        assert len(transport._connections) == 2


async def test_a_body_without_a_length_ends_with_the_connection(transport: NetworkTransport):
    async with serve(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it") as (origin, _):
        assert await call(transport, origin) == (200, b"all of it")


async def test_interim_answers_are_skipped(transport: NetworkTransport):
    async with serve(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK) as (origin, _):
        assert await call(transport, origin) == (200, b"ok")


async def test_answers_without_a_body_leave_the_connection_usable(transport: NetworkTransport):
    async with serve(
        b"HTTP/1.1 204 No Content\r\n\r\n", b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\n\r\n', OK
    ) as (
        origin,
        server,
    ):
        assert [(await call(transport, origin))[0] for _ in range(3)] == [204, 304, 200]
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
    ],
    ids=["upgrade", "large headers", "two framings", "two lengths"],
)
async def test_answers_that_could_be_read_in_two_ways_are_refused(transport: NetworkTransport, answer: bytes):
    async with serve(answer) as (origin, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await call(transport, origin)


async def test_a_second_answer_to_one_request_breaks_the_connection(transport: NetworkTransport):
    async with serve(OK + OK, OK) as (origin, server):
        assert await call(transport, origin) == (200, b"ok")
        assert await call(transport, origin) == (200, b"ok")
    assert server.connections == 2


async def test_words_out_of_turn_break_the_connection(transport: NetworkTransport):
    async with serve(OK, OK) as (origin, server):
        await call(transport, origin)
        server.writers[0].write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        await asyncio.sleep(0.05)
        assert await call(transport, origin) == (200, b"ok")
    assert server.connections == 2


async def test_a_large_answer_waits_for_its_reader(transport: NetworkTransport):
    content = b"x" * 3_000_000
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content) + content
    async with serve(answer, OK) as (origin, _):
        exchange = await transport.open(Outgoing("GET", origin, "/"))
        await asyncio.sleep(0.05)
        assert cast("Any", exchange)._answer._buffered < 600_000
        size = 0
        while chunk := await exchange.read():
            size += len(chunk)
        await exchange.aclose()
        assert size == len(content)
        assert await call(transport, origin) == (200, b"ok")


async def test_an_early_answer_does_not_wait_for_the_body(transport: NetworkTransport):
    never = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        await never.wait()

    async with serve(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno") as (origin, _):
        assert await call(transport, origin, "POST", body=endless()) == (413, b"no")


async def test_a_body_that_fails_after_the_answer_began_cuts_the_answer(transport: NetworkTransport):
    answered = asyncio.Event()

    async def failing() -> AsyncIterator[bytes]:
        yield b"x"
        await answered.wait()
        raise ValueError("too much")

    async with serve(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab") as (origin, _):
        exchange = await transport.open(Outgoing("POST", origin, "/", body=failing()))
        answered.set()
        assert await exchange.read() == b"ab"
        with pytest.raises(httpx.ReadError):
            await exchange.read()
        await exchange.aclose()


async def parts(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize("sent", [(b"ab", b"cd"), (b"a",)], ids=["longer", "shorter"])
async def test_a_body_must_be_as_long_as_announced(transport: NetworkTransport, sent: tuple[bytes, ...]):
    async with serve() as (origin, _):
        with pytest.raises(httpx.WriteError):
            await call(transport, origin, "POST", body=parts(*sent), headers=[(b"content-length", b"3")])


async def test_an_announced_body_is_streamed_with_its_length(transport: NetworkTransport):
    async with serve(OK) as (origin, server):
        headers = [(b"content-length", b"4"), (b"transfer-encoding", b"x"), (b"connection", b"x")]
        await call(transport, origin, "PUT", body=parts(b"ab", b"", b"cd"), headers=headers)
    assert b"content-length: 4\r\n" in server.requests[0]
    assert b"transfer-encoding" not in server.requests[0]
    assert b"connection" not in server.requests[0]


async def test_a_body_that_nobody_takes_is_a_write_timeout(transport: NetworkTransport):
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000_000

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async with raw_server(ignore, limit=1024) as port:
        origin = f"http://127.0.0.1:{port}"
        request = Outgoing("POST", origin, "/", body=endless(), timeouts=Timeouts(write=0.1))
        with pytest.raises(httpx.WriteTimeout):
            await transport.open(request)


@pytest.mark.parametrize(
    "request_line",
    [
        {"headers": [(b"x", b"1\r\ny: 2")]},
        {"headers": [(b"x\n", b"1")]},
        {"headers": [(b"x", b"a\0b")]},
        {"target": "/a b"},
        {"target": "/a\r\nx: 1"},
        {"method": "GET /"},
    ],
)
async def test_what_would_be_another_request_is_not_sent(
    transport: NetworkTransport, request_line: dict[str, str]
):
    request: dict[str, Any] = {"method": "GET", "origin": "http://127.0.0.1:9", "target": "/", **request_line}
    with pytest.raises(httpx.UnsupportedProtocol):
        await transport.open(Outgoing(**request))


async def test_places_are_handed_over_in_order():
    transport = NetworkTransport(NetworkLimits(max_requests=1))
    async with serve(OK, OK, OK) as (origin, _):
        first = await transport.open(Outgoing("GET", origin, "/"))
        waiting = [asyncio.create_task(call(transport, origin)) for _ in range(2)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        await first.aclose()
        assert await waiting[1] == (200, b"ok")
        assert transport._active == 0
        await transport.aclose()


async def test_a_name_that_does_not_resolve_is_a_connect_error(transport: NetworkTransport):
    with pytest.raises(httpx.ConnectError):
        await call(transport, "http://nowhere.invalid")


async def test_a_connection_that_takes_too_long_is_a_connect_timeout(
    transport: NetworkTransport, monkeypatch: pytest.MonkeyPatch
):
    async def stall(*_: object, **__: object) -> None:
        await asyncio.sleep(5)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", stall)
    with pytest.raises(httpx.ConnectTimeout):
        await transport.open(Outgoing("GET", "http://x", "/", timeouts=Timeouts(connect=0.01)))


def self_signed(directory: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = directory / "server.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def test_only_servers_with_a_known_certificate_are_called(
    transport: NetworkTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server = Server([OK])
    async with raw_server(server.handle, ssl=self_signed(tmp_path)) as port:
        origin = f"https://localhost:{port}"
        with pytest.raises(httpx.ConnectError):
            await call(transport, origin)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
        trusting = NetworkTransport()
        assert await call(trusting, origin) == (200, b"ok")
        await trusting.aclose()
