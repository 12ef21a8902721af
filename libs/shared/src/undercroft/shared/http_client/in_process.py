"""Calls to applications in the same event loop, with the manners of a network: streams, limits, disconnects."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import Context
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import httpx
from typing_extensions import override

from undercroft.shared.http_client.exchange import Body, Exchange, ExchangeBaseTransport, Outgoing

Message: TypeAlias = "MutableMapping[str, Any]"  # ASGI's own type
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"
AsgiApp: TypeAlias = "Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]"

_HIGH_WATER_BYTES = 65_536
_DISCONNECT_GRACE_SECONDS = 1.0
_PEER = ("127.0.0.1", 0)

_logger = logging.getLogger(__name__)


class InProcessTransport(ExchangeBaseTransport):
    """Routes requests by host name to ASGI applications of this process.

    `apps` stays the caller's: names may come and go while the transport is in use; an unknown name is an
    `httpx.ConnectError`. Each call runs in a task with an empty context: only headers cross, as over a network.
    """

    def __init__(self, apps: MutableMapping[str, AsgiApp]) -> None:
        self._apps = apps
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: dict[str, tuple[str, str, int | None]] = {}

    @override
    async def open(self, request: Outgoing) -> Exchange:
        scheme, host, port = self._servers.get(request.origin) or self._remember(request.origin)
        app = self._apps.get(host)
        if app is None:
            raise httpx.ConnectError(f"no application named {host!r} in this process")
        path, _, query = request.target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": scheme,
            "path": unquote(path) if "%" in path else path,
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers],
            "server": (host, port),
            "client": _PEER,
            "state": {},
        }
        call = _Call(scope, request.body, request.timeouts.read, self._tasks)
        await call.start(app)
        return call

    def _remember(self, origin: str) -> tuple[str, str, int | None]:
        parts = urlsplit(origin)
        server = (parts.scheme, parts.hostname or "", parts.port)
        if len(self._servers) < 1_000:  # noqa: PLR2004  # far more upstreams than any deployment names
            self._servers[origin] = server
        return server

    @override
    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_DISCONNECT_GRACE_SECONDS)


class _Call:
    """One request and its answer; the application's task on one side, `read` on the other."""

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        body: Body,
        read_timeout: float | None,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._scope = scope
        self._request = body if isinstance(body, bytes) else body.__aiter__()
        self._request_done = False
        self._read_timeout = read_timeout
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._complete = False
        self._closed = False
        self._failure: BaseException | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._listener: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, app: AsgiApp) -> None:
        """Run the application and return when it has started its answer."""
        self._task = self._loop.create_task(self._run(app), context=Context())
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)
        try:
            while not self.status and self._failure is None:
                await self._wait_for_application()
        except BaseException:
            await self.aclose()
            raise
        if not self.status and self._failure is not None:
            await self.aclose()
            raise self._failure

    async def read(self) -> bytes:
        while not self._chunks:
            if self._failure is not None:
                raise self._failure
            if self._complete:
                return b""
            await self._wait_for_application()
        chunk = self._chunks.popleft()
        self._buffered -= len(chunk)
        if self._writer is not None and self._buffered < _HIGH_WATER_BYTES:
            _wake(self._writer)
        return chunk

    async def aclose(self) -> None:
        self._closed = True
        _wake(self._listener)
        _wake(self._writer)
        if self._task is not None and not self._task.done():
            self._loop.call_later(_DISCONNECT_GRACE_SECONDS, self._task.cancel)

    async def _wait_for_application(self) -> None:
        reader = self._reader = self._loop.create_future()
        timer = None
        if self._read_timeout is not None:
            timer = self._loop.call_later(self._read_timeout, _expire, reader)
        try:
            await reader
        finally:
            self._reader = None
            if timer is not None:
                timer.cancel()

    async def _run(self, app: AsgiApp) -> None:
        try:
            await app(self._scope, self._receive, self._send)
        except asyncio.CancelledError:
            self._fail(httpx.ReadError("the application was stopped"))
            raise
        except Exception as error:
            if not self.status and not self._closed:
                _logger.exception("application failed before it answered")
            self._fail(httpx.RemoteProtocolError(f"the application failed ({type(error).__name__})"))
        else:
            self._fail(httpx.RemoteProtocolError("the application returned without a complete answer"))

    def _fail(self, error: httpx.TransportError) -> None:
        if not self._complete and self._failure is None:
            self._failure = error
            _wake(self._reader)

    async def _receive(self) -> Message:
        if not self._request_done and not self._closed:
            return await self._next_request_message()
        while not (self._closed or self._complete):
            if self._listener is None or self._listener.done():
                self._listener = self._loop.create_future()
            await asyncio.shield(self._listener)
        return {"type": "http.disconnect"}

    async def _next_request_message(self) -> Message:
        if isinstance(self._request, bytes):
            self._request_done = True
            return {"type": "http.request", "body": self._request, "more_body": False}
        try:
            chunk = await anext(self._request)
        except StopAsyncIteration:
            self._request_done = True
            return {"type": "http.request", "body": b"", "more_body": False}
        except Exception as error:  # noqa: BLE001  # whatever the caller's iterator raises is the caller's
            self._request_done = True
            if not self.status:
                self._failure = error
                _wake(self._reader)
            self._closed = True
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def _send(self, message: Message) -> None:
        if self._closed:
            await asyncio.sleep(0)  # an application that never waits must not hold the loop for nobody
            return
        if message["type"] == "http.response.start":
            self.headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            await self._send_body(message.get("body", b""), more=message.get("more_body", False))
        _wake(self._reader)

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        if not self.status:
            raise RuntimeError("the body came before http.response.start")
        if body and self._scope["method"] != "HEAD":
            self._chunks.append(bytes(body))
            self._buffered += len(body)
        if not more:
            self._complete = True
            _wake(self._listener)
            return
        _wake(self._reader)
        while self._buffered >= _HIGH_WATER_BYTES and not self._closed:
            self._writer = self._loop.create_future()
            await self._writer
            self._writer = None


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(httpx.ReadTimeout("the application did not answer in time"))
