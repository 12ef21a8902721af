"""Side by side: ways to call another service over the loopback, and the two in-process transports.

    uv run python tests/bench/http_transport.py [--seconds 2] [--connections 32]

Prints calls/s of each candidate and its ratio to the stock HTTPX pool, all in one run on one machine: compare rows,
never runs. httpx-aiohttp takes part when it is installed. The upstream is an nginx worker when there is one, else an
asyncio server in its own process.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import multiprocessing
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import uvloop
from pyreqwest.client import ClientBuilder
from pyreqwest.compatibility.httpx import HttpxTransport
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from undercroft.shared.http_client import InProcessTransport, Outgoing, exchange_transport, make_transport

BODY = b'{"status":"ok"}' + b" " * 100
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
NGINX = """
worker_processes 1; daemon off; pid {directory}/pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000;
  server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 '{body}'; }} }} }}
"""

Call = Callable[[], Awaitable[object]]


class _Upstream(asyncio.Protocol):
    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER * data.count(b"\r\n\r\n"))  # type: ignore[attr-defined]


def _serve(port: int) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Upstream, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(run())


@contextlib.contextmanager
def upstream() -> Iterator[str]:
    """Serve a small JSON answer on a free port, in another process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    with tempfile.TemporaryDirectory() as directory:
        if nginx:
            config = Path(directory) / "nginx.conf"
            config.write_text(NGINX.format(directory=directory, port=port, body=BODY.decode()))
            process = subprocess.Popen([nginx, "-p", directory, "-c", str(config)], stderr=subprocess.DEVNULL)
            stop = process.terminate
        else:
            worker = multiprocessing.get_context("spawn").Process(target=_serve, args=(port,), daemon=True)
            worker.start()
            stop = worker.terminate
        _wait_for(port)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            stop()


def _wait_for(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2):
            return
        time.sleep(0.05)
    raise SystemExit("the upstream did not start")


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as the upstream does."""
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def measure(call: Call, *, seconds: float, connections: int) -> float:
    """Return calls per second of `connections` concurrent callers."""
    deadline = time.perf_counter() + seconds
    done = 0

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            await call()
            done += 1

    await call()
    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(connections)))
    return done / (time.perf_counter() - started)


def by_client(transport: httpx.AsyncBaseTransport | None, url: str) -> Call:
    """Call through `httpx.AsyncClient`."""
    client = httpx.AsyncClient(transport=transport, limits=httpx.Limits(max_connections=100))

    async def call() -> None:
        (await client.get(url + "/x")).raise_for_status()

    return call


def by_transport(transport: httpx.AsyncBaseTransport, url: str) -> Call:
    """Call the HTTPX transport without the client's extras."""

    async def call() -> None:
        response = await transport.handle_async_request(httpx.Request("GET", url + "/x"))
        await response.aread()
        await response.aclose()

    return call


def by_exchange(transport: httpx.AsyncBaseTransport, url: str) -> Call:
    """Call through the exchange protocol, as the gateway and ServiceClient do."""
    exchanges = exchange_transport(transport)
    host = url.removeprefix("http://").encode()

    async def call() -> None:
        exchange = await exchanges.open(Outgoing("GET", url, "/x", [(b"host", host), (b"accept", b"*/*")]))
        while await exchange.read():
            pass
        await exchange.aclose()

    return call


def by_native(url: str) -> Call:
    """Call pyreqwest's own API: the bound that a wrapper around it cannot exceed."""
    client = ClientBuilder().build()

    async def call() -> None:
        async with client.get(url + "/x").build_streamed() as response:
            while await response.body_reader.read_chunk() is not None:
                pass

    return call


def candidates(url: str) -> Iterator[tuple[str, Call]]:
    """Yield every way to make the call; the first is the one that the others are compared with."""
    yield "httpx pool", by_client(None, url)
    if importlib.util.find_spec("httpx_aiohttp"):
        from httpx_aiohttp import AiohttpTransport

        yield "httpx + httpx-aiohttp", by_client(AiohttpTransport(), url)
    yield "httpx + pyreqwest transport", by_client(HttpxTransport(), url)
    yield "pyreqwest transport alone", by_transport(HttpxTransport(), url)
    yield "our transport alone", by_transport(make_transport(), url)
    yield "our exchange (chosen)", by_exchange(make_transport(), url)
    yield "pyreqwest native", by_native(url)
    yield "in process: httpx.ASGITransport", by_transport(httpx.ASGITransport(application), "http://app")
    yield "in process: our transport", by_transport(InProcessTransport({"app": application}), "http://app")
    yield "in process: our exchange", by_exchange(InProcessTransport({"app": application}), "http://app")


async def run(*, seconds: float, connections: int) -> None:
    """Measure every candidate and print the table."""
    with upstream() as url:
        first = None
        for name, call in candidates(url):
            rate = await measure(call, seconds=seconds, connections=connections)
            first = first or rate
            print(f"{name:34} {rate:9,.0f}/s  {1e6 / rate:7.1f} us  {rate / first:6.2f}")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--connections", type=int, default=32)
    arguments = parser.parse_args()
    uvloop.run(run(seconds=arguments.seconds, connections=arguments.connections))


if __name__ == "__main__":
    main()
