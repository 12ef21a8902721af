"""Calls over the network: a pool of HTTP/1.1 connections in the event loop itself.

Chosen by measurement (tests/bench/http_transport.py): the stock HTTPX pool collapses under concurrency, and clients
that run in threads of their own (pyreqwest) pay for the way there and back and cannot take a request back.
"""

import asyncio
import re
import ssl
from collections import deque
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import urlsplit

import httpx
from typing_extensions import override

from undercroft.shared.http_client.answer import Answer, StaleConnectionError
from undercroft.shared.http_client.connection import Connection
from undercroft.shared.http_client.exchange import Exchange, ExchangeBaseTransport, Outgoing

_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_TARGET = re.compile(r"[\x21-\x7e]+")
_METHOD = re.compile(r"[A-Z]+")


@dataclass(frozen=True, slots=True)
class NetworkLimits:
    """Bounds of one pool: requests at a time, connections kept for each origin, and for how long."""

    max_requests: int = 512
    max_idle_per_origin: int = 128
    idle_seconds: float = 30.0


class NetworkTransport(ExchangeBaseTransport):
    """A pool of connections. Nothing is followed, remembered or decoded: an answer arrives as it is."""

    def __init__(self, limits: NetworkLimits | None = None) -> None:
        self._limits = limits or NetworkLimits()
        self._idle: dict[str, deque[Connection]] = {}
        self._connections: set[Connection] = set()
        self._active = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    @override
    async def open(self, request: Outgoing) -> Exchange:
        head = _head_of(request)
        await self._enter(request.timeouts.pool)
        try:
            answer = await self._attempt(request, head)
        except BaseException:
            self._exit()
            raise
        return _PooledExchange(answer, self._exit)

    @override
    async def aclose(self) -> None:
        for connection in tuple(self._connections):
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)

    async def _attempt(self, request: Outgoing, head: bytes) -> Answer:
        """Send on a kept connection, or on a new one; what was closed under our hands is tried once again."""
        connection = self._take(request.origin)
        if connection is not None:
            try:
                return await self._send(connection, request, head)
            except StaleConnectionError as error:
                if request.method not in _REPEATABLE or not isinstance(request.body, bytes):
                    raise httpx.RemoteProtocolError("the connection ended before the answer") from error
        connection = await self._connect(request.origin, request.timeouts.connect)
        return await self._send(connection, request, head)

    async def _send(self, connection: Connection, request: Outgoing, head: bytes) -> Answer:
        body = request.body
        answer = connection.begin(
            head,
            is_whole=isinstance(body, bytes),
            read_seconds=request.timeouts.read,
            is_head=request.method == "HEAD",
        )
        try:
            if isinstance(body, bytes):
                await answer.start()
            else:
                await _start_while_sending(connection, answer, body, request)
        except BaseException:
            await answer.aclose()
            raise
        return answer

    def _take(self, origin: str) -> Connection | None:
        idle = self._idle.get(origin)
        oldest = asyncio.get_running_loop().time() - self._limits.idle_seconds
        while idle:
            connection = idle.pop()
            if connection.is_closed:
                continue
            if connection.idle_since >= oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: str, seconds: float | None) -> Connection:
        parts = urlsplit(origin)
        is_secure = parts.scheme == "https"
        connection = Connection(self._keep, self._connections.discard)
        connection.origin = origin
        try:
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    parts.hostname or "",
                    parts.port or (443 if is_secure else 80),
                    ssl=self._tls if is_secure else None,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx.ConnectError("no connection") from error
        self._connections.add(connection)
        return connection

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _keep(self, connection: Connection) -> None:
        idle = self._idle.setdefault(connection.origin, deque())
        connection.idle_since = asyncio.get_running_loop().time()
        idle.append(connection)
        if len(idle) > self._limits.max_idle_per_origin:
            idle.popleft().abort()

    async def _enter(self, seconds: float | None) -> None:
        if self._active < self._limits.max_requests:
            self._active += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter  # whoever leaves hands its place over
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self._exit()
            if isinstance(error, TimeoutError):
                raise httpx.PoolTimeout("too many requests at a time") from error
            raise

    def _exit(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._active -= 1


class _PooledExchange:
    """An answer and the place in the pool that it takes until it is closed."""

    __slots__ = ("_answer", "_exit", "_is_open", "headers", "read", "status")

    def __init__(self, answer: Answer, leave_pool: Callable[[], None]) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.read = answer.read
        self._answer = answer
        self._exit = leave_pool
        self._is_open = True

    async def aclose(self) -> None:
        if self._is_open:
            self._is_open = False
            self._exit()
            await self._answer.aclose()


async def _start_while_sending(
    connection: Connection, answer: Answer, body: AsyncIterable[bytes], request: Outgoing
) -> None:
    """Send a body and wait for the headers, whichever comes first; an early answer does not stop the body."""
    sending = asyncio.create_task(_send_body(connection, answer, body, request))
    starting = asyncio.create_task(answer.start())
    try:
        await asyncio.wait({sending, starting}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
        await starting
    except BaseException:
        sending.cancel()
        starting.cancel()
        raise
    answer.sending = sending
    sending.add_done_callback(lambda done: _note_end_of_body(done, connection))


def _note_end_of_body(sending: asyncio.Task[None], connection: Connection) -> None:
    """Cut an answer whose request turned out to be broken after the answer had begun."""
    if not sending.cancelled() and sending.exception() is not None:
        connection.abort()


async def _send_body(
    connection: Connection, answer: Answer, body: AsyncIterable[bytes], request: Outgoing
) -> None:
    """Send a body piece by piece; the other side's time rests while the caller produces the next piece."""
    length = _announced_length(request)
    sent = 0
    chunks = aiter(body)
    while True:
        answer.rest_timer()
        try:
            chunk = await anext(chunks)
        except StopAsyncIteration:
            break
        finally:
            answer.restart_timer()
        sent += len(chunk)
        if length is not None and sent > length:
            raise httpx.WriteError("the body is longer than announced")
        if chunk:
            framed = chunk if length is not None else b"%x\r\n%b\r\n" % (len(chunk), chunk)
            await connection.write(framed, seconds=request.timeouts.write)
    if length is None:
        await connection.write(b"0\r\n\r\n", seconds=request.timeouts.write)
    elif sent < length:
        raise httpx.WriteError("the body is shorter than announced")
    connection.finish_request()


def _announced_length(request: Outgoing) -> int | None:
    for name, value in request.headers:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return None


def _head_of(request: Outgoing) -> bytes:
    """Return the head of a request, with its body when that is at hand; raises for what would be another request."""
    method, target, body = request.method, request.target, request.body
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
        raise httpx.UnsupportedProtocol(
            "the request cannot be sent: its method or target has other characters"
        )
    lines = [f"{method} {target} HTTP/1.1".encode("ascii")]
    names = set()
    for name, value in request.headers:
        lowered = name.lower()
        names.add(lowered)
        if lowered not in _FRAMING:
            lines.append(name + b": " + value)
    if b"host" not in names:
        lines.append(b"host: " + urlsplit(request.origin).netloc.encode("ascii"))
    if not isinstance(body, bytes):
        length = _announced_length(request)
        lines.append(b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length)
    elif body or b"content-length" in names or method in _BODY_METHODS:
        lines.append(b"content-length: %d" % len(body))
    head = b"\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise httpx.UnsupportedProtocol("the request cannot be sent: a header has a line break")
    return head + b"\r\n\r\n" + (body if isinstance(body, bytes) else b"")
