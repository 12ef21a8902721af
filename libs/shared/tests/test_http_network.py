import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import respx
from starlette.types import Receive, Scope, Send

from undercroft.shared.http_client import (
    Exchange,
    InProcessTransport,
    NetworkLimits,
    NetworkTransport,
    Outgoing,
    Timeouts,
    exchange_transport,
    make_transport,
)
from undercroft.shared.testing import raw_server

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@asynccontextmanager
async def upstream(
    answer: bytes, *, hold: bool = False
) -> AsyncIterator[tuple[str, list[bytes], asyncio.Event]]:
    """Serve one raw answer to every request; `hold` keeps the connection open until the client leaves."""
    requests: list[bytes] = []
    left = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if hold:
                while chunk := await reader.read(1024):
                    requests.append(chunk)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        left.set()
        writer.close()

    async with raw_server(handle) as port:
        yield f"http://127.0.0.1:{port}", requests, left


@pytest.fixture
async def transport() -> AsyncIterator[NetworkTransport]:
    transport = make_transport(NetworkLimits(max_requests=2))
    yield transport
    await transport.aclose()


async def read_all(exchange: Exchange) -> bytes:
    content = b""
    while chunk := await exchange.read():
        content += chunk
    await exchange.aclose()
    return content


async def test_target_and_headers_are_sent_as_given(transport: NetworkTransport):
    async with upstream(OK) as (origin, requests, _):
        request = Outgoing("GET", origin, "/a%2Fb?x=%31", [(b"host", b"shop.example"), (b"x-one", b"1")])
        exchange = await transport.open(request)
        assert (exchange.status, exchange.headers) == (200, [(b"content-length", b"2")])
        assert await read_all(exchange) == b"ok"
    assert requests[0].startswith(b"GET /a%2Fb?x=%31 HTTP/1.1\r\n")
    assert b"host: shop.example\r\n" in requests[0]
    assert b"x-one: 1\r\n" in requests[0]


async def test_answers_are_not_decoded_followed_or_remembered(transport: NetworkTransport):
    answer = b"HTTP/1.1 302 Found\r\nlocation: /b\r\nset-cookie: a=1\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok"
    async with upstream(answer) as (origin, requests, _):
        exchange = await transport.open(Outgoing("GET", origin, "/"))
        assert (exchange.status, await read_all(exchange)) == (302, b"ok")
        await read_all(await transport.open(Outgoing("GET", origin, "/")))
    assert b"cookie" not in requests[1]


async def test_a_streamed_body_is_sent_in_chunks(transport: NetworkTransport):
    async def chunks() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"de"

    async with upstream(OK, hold=True) as (origin, requests, _):
        await read_all(await transport.open(Outgoing("POST", origin, "/", body=chunks())))
        await asyncio.sleep(0.05)
    sent = b"".join(requests)
    assert b"transfer-encoding: chunked" in sent
    assert sent.endswith(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")


async def test_a_whole_body_is_sent_with_its_length(transport: NetworkTransport):
    async with upstream(OK) as (origin, requests, _):
        await read_all(await transport.open(Outgoing("POST", origin, "/", body=b"abc")))
    assert b"content-length: 3\r\n" in requests[0]


async def test_a_slow_caller_is_not_the_upstreams_timeout(transport: NetworkTransport):
    async def chunks() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.15)
        yield b"abc"

    async with upstream(OK, hold=True) as (origin, _, _):
        request = Outgoing("POST", origin, "/", body=chunks(), timeouts=Timeouts(read=0.1))
        assert (await transport.open(request)).status == 200


async def test_an_error_of_the_body_iterator_reaches_the_caller(transport: NetworkTransport):
    async def chunks() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ValueError("too much")

    async with upstream(b"", hold=True) as (origin, _, _):
        with pytest.raises(ValueError, match="too much"):
            await transport.open(Outgoing("POST", origin, "/", body=chunks()))


async def test_a_refused_connection_is_a_connect_error(transport: NetworkTransport):
    async with upstream(OK) as (origin, _, _):
        pass
    with pytest.raises(httpx.ConnectError):
        await transport.open(Outgoing("GET", origin, "/"))


@pytest.mark.parametrize(
    "answer",
    [b"NONSENSE\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nConte"],
    ids=["garbage", "closed", "cut"],
)
async def test_nonsense_instead_of_headers_is_a_protocol_error(transport: NetworkTransport, answer: bytes):
    async with upstream(answer) as (origin, _, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await transport.open(Outgoing("GET", origin, "/"))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
    ids=["length", "chunked"],
)
async def test_a_cut_body_is_a_read_error(transport: NetworkTransport, answer: bytes):
    async with upstream(answer) as (origin, _, _):
        exchange = await transport.open(Outgoing("GET", origin, "/"))
        with pytest.raises(httpx.ReadError):
            await read_all(exchange)


async def test_silence_is_a_read_timeout_and_leaves_the_task_alone(transport: NetworkTransport):
    async with upstream(b"", hold=True) as (origin, _, left):
        with pytest.raises(httpx.ReadTimeout):
            await transport.open(Outgoing("GET", origin, "/", timeouts=Timeouts(read=0.05)))
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.wait_for(left.wait(), 1)


async def test_a_stalled_body_is_a_read_timeout(transport: NetworkTransport):
    async with upstream(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", hold=True) as (origin, _, _):
        exchange = await transport.open(Outgoing("GET", origin, "/", timeouts=Timeouts(read=0.05)))
        assert await exchange.read() == b"ok"
        with pytest.raises(httpx.ReadTimeout):
            await exchange.read()
        await exchange.aclose()


async def test_a_long_answer_may_take_longer_than_each_read(transport: NetworkTransport):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        for _ in range(5):
            await asyncio.sleep(0.04)
            writer.write(b"x")
        await writer.drain()
        writer.close()

    async with raw_server(handle) as port:
        origin = f"http://127.0.0.1:{port}"
        exchange = await transport.open(Outgoing("GET", origin, "/", timeouts=Timeouts(read=0.15)))
        assert await read_all(exchange) == b"xxxxx"


async def test_no_read_timeout_waits(transport: NetworkTransport):
    async with upstream(OK) as (origin, _, _):
        exchange = await transport.open(Outgoing("GET", origin, "/", timeouts=Timeouts(read=None)))
        assert await read_all(exchange) == b"ok"


async def test_cancelling_the_caller_drops_the_connection(transport: NetworkTransport):
    async with upstream(b"", hold=True) as (origin, _, left):
        call = asyncio.create_task(transport.open(Outgoing("GET", origin, "/")))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(left.wait(), 1)


async def test_closing_an_answer_early_drops_the_connection(transport: NetworkTransport):
    async with upstream(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n", hold=True) as (origin, _, left):
        exchange = await transport.open(Outgoing("GET", origin, "/"))
        assert await exchange.read() == b"data: 1\n\n"
        await exchange.aclose()
        await asyncio.wait_for(left.wait(), 1)


async def test_a_full_pool_is_a_pool_timeout(transport: NetworkTransport):
    async with upstream(b"", hold=True) as (origin, _, _):
        calls = [asyncio.create_task(transport.open(Outgoing("GET", origin, "/"))) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(httpx.PoolTimeout):
            await transport.open(Outgoing("GET", origin, "/", timeouts=Timeouts(pool=0.05)))
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_what_cannot_be_sent_is_refused(transport: NetworkTransport):
    with pytest.raises(httpx.UnsupportedProtocol):
        await transport.open(Outgoing("GET", "http://x", "/", [(b"bad\n", b"1")]))


async def test_head_needs_no_content(transport: NetworkTransport):
    async with upstream(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n") as (origin, _, _):
        exchange = await transport.open(Outgoing("HEAD", origin, "/"))
        assert (exchange.status, await read_all(exchange)) == (200, b"")


async def test_httpx_itself_works_on_top(transport: NetworkTransport):
    async with (
        upstream(OK, hold=True) as (origin, requests, _),
        httpx.AsyncClient(transport=transport) as client,
    ):
        answer = await client.post(origin + "/x", content=b"abc", params={"q": "1"})
        assert (answer.status_code, answer.text) == (200, "ok")
    assert requests[0].startswith(b"POST /x?q=1 ")


async def echo(scope: Scope, receive: Receive, send: Send):
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-A", b"1")]})
    await send({"type": "http.response.body", "body": message["body"]})


def by_respx() -> httpx.AsyncBaseTransport:
    router = respx.Router()
    router.post("http://app/x").mock(
        side_effect=lambda request: httpx.Response(200, headers={"X-A": "1"}, content=request.content)
    )
    return httpx.MockTransport(router.async_handler)


@pytest.mark.parametrize(
    "make", [by_respx, lambda: InProcessTransport({"app": echo})], ids=["respx", "in process"]
)
async def test_every_transport_goes_in_by_the_same_door(make: Callable[[], httpx.AsyncBaseTransport]):
    exchange = await exchange_transport(make()).open(Outgoing("POST", "http://app", "/x", body=b"hi"))
    assert (exchange.status, (b"x-a", b"1") in exchange.headers) == (200, True)
    assert await read_all(exchange) == b"hi"


async def test_a_streaming_httpx_transport_streams():
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        yield b""
        yield b"b"

    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=parts()))
    exchange = await exchange_transport(transport).open(Outgoing("GET", "http://app", "/"))
    assert [await exchange.read() for _ in range(3)] == [b"a", b"b", b""]
    await exchange.aclose()


async def test_httpx_streams_a_body_through_in_process():
    async def parts() -> AsyncIterator[bytes]:
        yield b"part"

    async with httpx.AsyncClient(transport=InProcessTransport({"app": echo})) as client:
        assert (await client.post("http://app/", content=parts())).content == b"part"


async def test_a_synchronous_stream_is_refused():
    async with httpx.AsyncClient(transport=InProcessTransport({"app": echo})) as client:
        with pytest.raises((TypeError, RuntimeError)):
            await client.post("http://app/", content=iter([b"x"]))
