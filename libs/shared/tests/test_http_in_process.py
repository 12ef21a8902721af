import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from undercroft.shared.http_client import Exchange, InProcessTransport, Outgoing, Timeouts

START = {"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/plain")]}


def body(content: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


def outgoing(target: str = "/", *, method: str = "GET", **options: Any) -> Outgoing:
    return Outgoing(method, "http://app", target, **options)


async def read_all(exchange: Exchange) -> bytes:
    content = b""
    while chunk := await exchange.read():
        content += chunk
    return content


async def test_the_request_arrives_as_over_a_network():
    seen: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope)
        seen["message"] = await receive()
        await send(START)
        await send(body(b"ok"))

    transport = InProcessTransport({"app": app})
    request = Outgoing("POST", "http://app:81", "/a%2Fb%20c?x=%31", [(b"X-One", b"1")], b"hello")
    exchange = await transport.open(request)
    assert (exchange.status, exchange.headers) == (200, [(b"content-type", b"text/plain")])
    assert await read_all(exchange) == b"ok"
    assert (seen["method"], seen["path"], seen["raw_path"]) == ("POST", "/a/b c", b"/a%2Fb%20c")
    assert (seen["query_string"], seen["headers"]) == (b"x=%31", [(b"x-one", b"1")])
    assert (seen["server"], seen["message"]["body"]) == (("app", 81), b"hello")


async def test_nothing_but_headers_crosses_into_the_application():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(repr(structlog.contextvars.get_contextvars()).encode()))

    with structlog.contextvars.bound_contextvars(secret="the caller's"):
        exchange = await InProcessTransport({"app": app}).open(outgoing())
    assert await read_all(exchange) == b"{}"


async def test_an_unknown_host_is_a_connect_error():
    with pytest.raises(httpx.ConnectError, match="no application named 'app'"):
        await InProcessTransport({}).open(outgoing())


async def test_applications_come_and_go():
    apps: dict[str, ASGIApp] = {}
    transport = InProcessTransport(apps)
    apps["app"] = FastAPI(openapi_url=None)
    exchange = await transport.open(outgoing())
    assert exchange.status == 404
    await exchange.aclose()


async def test_headers_are_there_before_the_body_is():
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await go_on.wait()
        await send(body(b"late"))

    exchange = await asyncio.wait_for(InProcessTransport({"app": app}).open(outgoing()), 1)
    assert exchange.status == 200
    go_on.set()
    assert await read_all(exchange) == b"late"


async def test_chunks_pass_one_by_one():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"first", more=True))
        await receive()
        await receive()

    exchange = await InProcessTransport({"app": app}).open(outgoing())
    assert await asyncio.wait_for(exchange.read(), 1) == b"first"
    await exchange.aclose()


async def test_a_fast_application_waits_for_a_slow_reader():
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(START)
        for _ in range(100):
            await send(body(b"x" * 16_384, more=True))
            sent += 1
        await send(body(b""))

    exchange = await InProcessTransport({"app": app}).open(outgoing())
    await asyncio.sleep(0.02)
    assert sent < 6
    assert len(await read_all(exchange)) == 100 * 16_384


async def test_the_request_body_is_pulled_not_pushed():
    produced = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal produced
        for _ in range(10):
            produced += 1
            yield b"x"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        await send(START)
        await send(body(b"%d %s" % (produced, str(first["more_body"]).encode())))

    exchange = await InProcessTransport({"app": app}).open(outgoing(method="POST", body=chunks()))
    assert await read_all(exchange) == b"1 True"


async def test_a_streamed_request_body_arrives_whole():
    async def chunks() -> AsyncIterator[bytes]:
        for part in (b"a", b"", b"b"):
            yield part

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        content = b""
        while True:
            message = await receive()
            content += message["body"]
            if not message["more_body"]:
                break
        await send(START)
        await send(body(content))

    exchange = await InProcessTransport({"app": raw}).open(outgoing(method="POST", body=chunks()))
    assert await read_all(exchange) == b"ab"


async def test_an_error_of_the_body_iterator_reaches_the_caller():
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        raise ValueError("too much")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    with pytest.raises(ValueError, match="too much"):
        await InProcessTransport({"app": app}).open(outgoing(method="POST", body=chunks()))


async def test_closing_early_delivers_a_disconnect():
    gone = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    exchange = await InProcessTransport({"app": app}).open(outgoing())
    await exchange.aclose()
    await asyncio.wait_for(gone.wait(), 1)


async def test_an_application_that_ignores_the_disconnect_is_cancelled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("undercroft.shared.http_client.in_process._DISCONNECT_GRACE_SECONDS", 0.05)
    cancelled = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    exchange = await InProcessTransport({"app": app}).open(outgoing())
    await exchange.aclose()
    await asyncio.wait_for(cancelled.wait(), 1)


async def test_an_endless_sender_does_not_hold_the_loop_for_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("undercroft.shared.http_client.in_process._DISCONNECT_GRACE_SECONDS", 0.05)
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            while True:
                await send(body(b"x" * 65_536, more=True))
        finally:
            ended.set()

    exchange = await InProcessTransport({"app": app}).open(outgoing())
    await exchange.read()
    await exchange.aclose()
    await asyncio.wait_for(ended.wait(), 2)


async def test_starlettes_streaming_stops_when_the_reader_leaves():
    stopped = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"data: 1\n\n"
                await asyncio.sleep(0.01)
        finally:
            stopped.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(events(), media_type="text/event-stream")(scope, receive, send)

    async with (
        httpx.AsyncClient(transport=InProcessTransport({"app": app}), base_url="http://app") as client,
        client.stream("GET", "/") as response,
    ):
        assert await anext(response.aiter_bytes()) == b"data: 1\n\n"
    await asyncio.wait_for(stopped.wait(), 1)


async def silent(scope: Scope, receive: Receive, send: Send):
    await receive()
    await receive()


async def test_a_silent_application_is_a_read_timeout():
    transport = InProcessTransport({"app": silent})
    with pytest.raises(httpx.ReadTimeout):
        await transport.open(outgoing(timeouts=Timeouts(read=0.02)))


async def test_a_stalled_body_is_a_read_timeout():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"a", more=True))
        await receive()
        await receive()

    exchange = await InProcessTransport({"app": app}).open(outgoing(timeouts=Timeouts(read=0.02)))
    assert await exchange.read() == b"a"
    with pytest.raises(httpx.ReadTimeout):
        await exchange.read()
    await exchange.aclose()


async def test_httpx_timeouts_are_honoured():
    async with httpx.AsyncClient(transport=InProcessTransport({"app": silent}), timeout=0.02) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("http://app/")


async def test_a_crash_before_the_answer_is_a_protocol_error(caplog: pytest.LogCaptureFixture):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("secret detail")

    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await InProcessTransport({"app": app}).open(outgoing())
    assert "secret" not in str(caught.value)
    assert "application failed" in caplog.text


async def test_a_crash_within_the_body_cuts_it():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"half", more=True))
        raise KeyError

    exchange = await InProcessTransport({"app": app}).open(outgoing())
    assert await exchange.read() == b"half"
    with pytest.raises(httpx.RemoteProtocolError):
        await exchange.read()


async def test_an_application_that_returns_without_an_answer_is_a_protocol_error():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    with pytest.raises(httpx.RemoteProtocolError, match="without a complete answer"):
        await InProcessTransport({"app": app}).open(outgoing())


async def test_a_body_before_its_start_is_a_protocol_error():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(body(b"x"))

    with pytest.raises(httpx.RemoteProtocolError, match="RuntimeError"):
        await InProcessTransport({"app": app}).open(outgoing())


async def test_a_crash_after_the_whole_answer_changes_nothing():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"ok"))
        raise KeyError

    exchange = await InProcessTransport({"app": app}).open(outgoing())
    assert await read_all(exchange) == b"ok"


async def test_head_answers_have_no_content():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"ignored"))

    exchange = await InProcessTransport({"app": app}).open(outgoing(method="HEAD"))
    assert await read_all(exchange) == b""


async def test_after_the_answer_the_application_hears_a_disconnect():
    heard = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        await send(body(b"ok"))
        assert (await receive())["type"] == "http.disconnect"
        heard.set()

    exchange = await InProcessTransport({"app": app}).open(outgoing())
    await read_all(exchange)
    await asyncio.wait_for(heard.wait(), 1)


async def test_closing_the_transport_ends_every_call():
    transport = InProcessTransport({"app": silent})
    call = asyncio.create_task(transport.open(outgoing()))
    await asyncio.sleep(0.01)
    await transport.aclose()
    with pytest.raises(httpx.ReadError):
        await call


async def test_cancelling_the_caller_disconnects_the_application():
    gone = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    call = asyncio.create_task(InProcessTransport({"app": app}).open(outgoing()))
    await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.wait_for(gone.wait(), 1)
    assert call.cancelled()
