import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from undercroft.launcher import serving
from undercroft.launcher.serving import FORCED_STATUS, GatewayServer, StopSignals
from undercroft.shared import listeners


def endless_app() -> FastAPI:
    app = FastAPI()

    @app.get("/ping")
    async def ping() -> str:
        return "pong"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def forever() -> AsyncIterator[bytes]:
            while True:
                yield b"tick\n"
                await asyncio.sleep(0.01)

        return StreamingResponse(forever())

    return app


class Serving:
    def __init__(self) -> None:
        self.sockets = listeners.listen("127.0.0.1", 0, names=listeners.Names("host", "port"))
        self.url = f"http://127.0.0.1:{listeners.port_of(self.sockets)}"
        self.started = asyncio.Event()
        self.server = GatewayServer(endless_app(), host="127.0.0.1", port=1, on_started=self.started.set)
        self.task = asyncio.create_task(self.server.serve(self.sockets))


async def test_a_stop_ends_the_server_and_frees_the_port():
    serving_now = Serving()
    stop = StopSignals(force=lambda: None)
    stop.serve(serving_now.server)
    await serving_now.started.wait()
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{serving_now.url}/ping")).json() == "pong"

    stop.request()
    await asyncio.wait_for(serving_now.task, 1)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(serving_now.url.rpartition(":")[2])))


async def test_an_endless_stream_does_not_hold_up_the_stop(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serving, "_GRACE_SECONDS", 0.1)
    serving_now = Serving()
    await serving_now.started.wait()
    async with httpx.AsyncClient() as client, client.stream("GET", f"{serving_now.url}/stream") as response:
        chunks = response.aiter_bytes()
        assert await anext(chunks) == b"tick\n"

        serving_now.server.should_exit = True
        await asyncio.wait_for(serving_now.task, 1)

        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in chunks:
                pass


async def test_a_stop_before_anything_is_served_cancels_the_start():
    async def start() -> None:
        StopSignals(force=lambda: None).request()
        await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(start())


async def test_a_second_signal_forces_the_end(monkeypatch: pytest.MonkeyPatch):
    happened: list[object] = []
    monkeypatch.setattr(os, "_exit", happened.append)
    stop = StopSignals(force=lambda: happened.append("database stopped"))
    stop.serve(GatewayServer(endless_app(), host="127.0.0.1", port=1, on_started=lambda: None))

    stop.request()
    stop.request()

    assert happened == ["database stopped", FORCED_STATUS]


async def test_the_end_of_the_lifeline_is_a_stop():
    reading, writing = os.pipe()
    server = GatewayServer(endless_app(), host="127.0.0.1", port=1, on_started=lambda: None)
    stop = StopSignals(force=lambda: pytest.fail("once is enough"))
    stop.serve(server)
    stop.watch_lifeline(reading)

    os.close(writing)
    await asyncio.sleep(0.05)

    assert server.should_exit
    os.close(reading)


def record(level: int, error: BaseException | None) -> logging.LogRecord:
    exc_info = (type(error), error, None) if error else None
    return logging.LogRecord("uvicorn.error", level, "", 0, "", None, exc_info)


def test_requests_that_a_stop_cut_leave_no_stack():
    assert not serving._is_worth_telling(record(logging.ERROR, asyncio.CancelledError()))
    assert not serving._is_worth_telling(record(logging.INFO, None))
    assert serving._is_worth_telling(record(logging.ERROR, ValueError()))
