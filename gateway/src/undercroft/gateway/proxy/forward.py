"""Forwarding to an upstream, streamed both ways; nothing of a body is kept longer than its next step."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from undercroft.gateway.errors import MalformedRequestError, RequestTimeoutError
from undercroft.gateway.proxy.headers import (
    VIA,
    RawHeader,
    cookies,
    forwarded_value,
    own_credentials,
    response_headers,
)
from undercroft.gateway.proxy.passage import Passage
from undercroft.gateway.proxy.streams import Ways, finish
from undercroft.gateway.routes_table import Route
from undercroft.shared.auth import PRINCIPAL_HEADER, PrincipalSigner
from undercroft.shared.errors import (
    BadGatewayError,
    GatewayTimeoutError,
    PayloadTooLargeError,
    ServiceError,
    UnavailableError,
)
from undercroft.shared.http_client import Exchange, Outgoing, Timeouts
from undercroft.shared.logs import get_logger

_RAW_PRINCIPAL_HEADER = PRINCIPAL_HEADER.lower().encode("ascii")
_FINAL_STATUSES = range(200, 600)
_WATCH_AFTER_SECONDS = 0.05
_STALL_CHECK_SECONDS = 10.0
_LONGEST_STALL_SECONDS = 60.0

_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a service answers."""

    name: str
    origin: str
    path: str
    host: bytes

    @classmethod
    def at(cls, name: str, url: str) -> "Upstream":
        """Read an upstream's base URL."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        return cls(name, origin, parts.path.rstrip("/"), parts.netloc.encode("ascii"))


class CallerGoneError(Exception):
    """Nobody waits for the answer any more."""


class Forwarder:
    """Passes requests on and answers back."""

    def __init__(
        self,
        ways: Ways,
        upstreams: Mapping[str, Upstream],
        signer: PrincipalSigner,
        *,
        body_read_seconds: float,
    ) -> None:
        self._ways = ways
        self._upstreams = upstreams
        self._signer = signer
        self._body_read_seconds = body_read_seconds
        self._watchers: set[asyncio.Task[None]] = set()

    async def forward(self, passage: Passage, route: Route, *, has_body: bool) -> None:
        """Answer a request with the answer of its route's upstream.

        Raises a `ServiceError` as long as nothing was sent. Once headers are out, a failure ends the answer
        unfinished, which makes the server close the connection: the caller must not take it for whole.
        """
        body = await self._first_of(passage, route.body_limit) if has_body else b""
        task = asyncio.current_task()
        if route.stream and task is not None:
            with self._ways.open_streams.admit(passage, task):
                await self._forward(passage, route, body, task)
        else:
            await self._forward(passage, route, body, task)

    async def _forward(
        self,
        passage: Passage,
        route: Route,
        body: bytes | AsyncIterator[bytes],
        task: asyncio.Task[object] | None,
    ) -> None:
        upstream = self._upstreams[route.upstream]
        timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_SECONDS, self._watch, passage, task)
        try:
            exchange = await self._open(passage, upstream, body, route)
            try:
                await self._answer(passage, upstream, exchange, keeps_cookies=route.cookies)
            finally:
                await exchange.aclose()
        except asyncio.CancelledError:
            if not (passage.is_gone or passage.is_ended) or task is None or task.uncancel():
                raise
            await finish(passage)
        except CallerGoneError:
            passage.is_gone = True
        finally:
            timer.cancel()

    async def _open(
        self, passage: Passage, upstream: Upstream, body: bytes | AsyncIterator[bytes], route: Route
    ) -> Exchange:
        seconds = route.timeout_seconds
        remaining = passage.remaining_seconds()
        if remaining is not None:
            seconds = min(seconds, remaining)
            if seconds <= 0:
                raise GatewayTimeoutError("The request's deadline has passed.")
        query = passage.query
        target = upstream.path + passage.path
        outgoing = Outgoing(
            passage.method,
            upstream.origin,
            f"{target}?{query.decode('ascii')}" if query else target,
            self._headers(passage, upstream, route, seconds),
            body,
            Timeouts(read=seconds),
        )
        try:
            return await (self._ways.streams if route.stream else self._ways.exchanges).open(outgoing)
        except httpx.TransportError as error:
            raise _refusal(error, upstream.name) from error

    def _headers(self, passage: Passage, upstream: Upstream, route: Route, seconds: float) -> list[RawHeader]:
        headers = passage.headers
        via = headers.get(b"via")
        own = [
            *headers.kept,
            (b"host", upstream.host),
            (b"via", VIA if via is None else via + b", " + VIA),
            (b"forwarded", forwarded_value(passage.address, passage.scheme, headers.get(b"host"))),
            (b"request-id", passage.request_id.encode("ascii")),
            (b"request-timeout-ms", b"%d" % max(1, int(seconds * 1000))),
        ]
        for name, value in passage.trace.headers().items():
            own.append((name.encode("ascii"), value.encode("ascii")))
        if passage.principal is not None:
            signed = self._signer.header_for(passage.principal, upstream.name)
            own.append((_RAW_PRINCIPAL_HEADER, signed.encode("ascii")))
        if route.auth == "upstream":
            own.extend(own_credentials(passage.scope["headers"]))
        if route.cookies:
            own.extend(cookies(passage.scope["headers"]))
        return own

    async def _answer(
        self, passage: Passage, upstream: Upstream, exchange: Exchange, *, keeps_cookies: bool
    ) -> None:
        if exchange.status not in _FINAL_STATUSES:
            raise BadGatewayError(f"The {upstream.name} service answered with status {exchange.status}.")
        headers = response_headers(exchange.headers, keeps_cookies=keeps_cookies)
        left = _announced_length(headers)
        await passage.start(exchange.status, headers)
        try:
            while chunk := await exchange.read():
                left -= len(chunk)
                passage.sending_since = time.perf_counter()
                await passage.send({"type": "http.response.body", "body": chunk, "more_body": left != 0})
                passage.sending_since = None
                if left == 0:
                    return
        except httpx.TransportError as error:
            _logger.warning(
                "answer cut",
                upstream=upstream.name,
                request_id=passage.request_id,
                error=type(error).__name__,
            )
            return
        await passage.send({"type": "http.response.body", "body": b""})

    async def _first_of(self, passage: Passage, limit: int) -> bytes | AsyncIterator[bytes]:
        """Return a body that arrived in one piece as it is, any other as an iterator over its pieces."""
        passage.body_read.clear()
        first, more = await self._receive(passage)
        if len(first) > limit:
            raise _too_large(limit)
        return self._pieces(passage, first, limit) if more else first

    async def _pieces(self, passage: Passage, first: bytes, limit: int) -> AsyncIterator[bytes]:
        chunk, more, size = first, True, len(first)
        while True:
            if chunk:
                yield chunk
            if not more:
                return
            chunk, more = await self._receive(passage)
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)

    async def _receive(self, passage: Passage) -> tuple[bytes, bool]:
        try:
            async with asyncio.timeout(self._body_read_seconds):
                message = await passage.receive()
        except TimeoutError:
            raise RequestTimeoutError("The body took too long to arrive.") from None
        if message["type"] == "http.disconnect":
            raise CallerGoneError
        more = message.get("more_body", False)
        if not more:
            passage.body_read.set()
        return message.get("body", b""), more

    def _watch(self, passage: Passage, task: asyncio.Task[object] | None) -> None:
        if task is None:  # pragma: no cover  ASGI servers run applications in tasks
            return
        watcher = asyncio.get_running_loop().create_task(_cancel_when_gone(passage, task))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        task.add_done_callback(lambda _: watcher.cancel())


async def _cancel_when_gone(passage: Passage, task: asyncio.Task[object]) -> None:
    """Cancel the forwarding when the caller leaves, or takes nothing for a minute."""
    await passage.body_read.wait()  # until then the body's reader is the one who hears of it
    while True:
        try:
            async with asyncio.timeout(_STALL_CHECK_SECONDS):
                message = await passage.receive()
        except TimeoutError:
            if passage.sending_since and time.perf_counter() - passage.sending_since > _LONGEST_STALL_SECONDS:
                break
            continue
        if message["type"] == "http.disconnect":
            break
    passage.is_gone = True
    if not passage.is_ended:  # then it is being cancelled already
        task.cancel()


def _announced_length(headers: list[RawHeader]) -> int:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return -1


def _too_large(limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"The body exceeds {limit} bytes.")


def _refusal(error: httpx.TransportError, name: str) -> ServiceError:
    """Return the answer to a failure before the upstream's headers."""
    if isinstance(error, httpx.UnsupportedProtocol):
        return MalformedRequestError("The request has headers that cannot be passed on.")
    if isinstance(error, (httpx.ConnectError, httpx.PoolTimeout)):
        return UnavailableError(f"The {name} service cannot be reached.")
    if isinstance(error, httpx.TimeoutException):
        return GatewayTimeoutError(f"The {name} service did not answer in time.")
    return BadGatewayError(f"The {name} service gave no valid answer.")
