"""What surrounds every request: its id, its trace, its size limit, its access line and its metrics."""

import re
import time
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from undercroft.shared.errors import InternalError, PayloadTooLargeError, problem_response
from undercroft.shared.http_client import CallContext, bind_call_context, deadline_from
from undercroft.shared.ids import TypeId
from undercroft.shared.logs import get_logger, log_access
from undercroft.shared.telemetry import Telemetry, TraceContext

REQUEST_ID_HEADER: Final = "Request-Id"
REQUEST_ID_SCOPE_KEY: Final = "undercroft.request_id"
TRACE_SCOPE_KEY: Final = "undercroft.trace"
HEAD_SCOPE_KEY: Final = "undercroft.is_head"

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._\-]{1,128}")
_QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
_UNROUTED = "(unrouted)"

_logger = get_logger("undercroft.access")


def request_id_from(scope: Scope) -> str:
    """Return the caller's `Request-Id` when it is well-formed and sent once, else a new one."""
    values = [value for name, value in scope["headers"] if name == b"request-id"]
    if len(values) == 1 and _REQUEST_ID.fullmatch(values[0]):
        return str(values[0].decode("ascii"))
    return str(TypeId.new("req"))


class RequestContextMiddleware:
    """Pure ASGI: binds the context, bounds the body, answers HEAD by GET, renders what nobody caught.

    Health and metrics requests are neither logged nor traced. The body limit holds for chunked bodies too: it is
    enforced while reading, and by `Content-Length` before anything is read (413).
    """

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, access_log: bool, max_body_bytes: int) -> None:
        self._app = app
        self._telemetry = telemetry
        self._access_log = access_log
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection; anything but HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = self._telemetry.begin_trace(scope["headers"])
        exchange = _Exchange(scope, send, trace=trace, limit=self._max_body_bytes)
        call = CallContext(exchange.request_id, trace, deadline_from(scope["headers"]))
        with (
            structlog.contextvars.bound_contextvars(request_id=exchange.request_id, trace_id=trace.trace_id),
            bind_call_context(call),
        ):
            try:
                with self._telemetry.active_request():
                    await self._handle(exchange, scope, receive)
            finally:
                self._record(exchange, scope)

    async def _handle(self, exchange: "_Exchange", scope: Scope, receive: Receive) -> None:
        if exchange.declares_too_much():
            error = PayloadTooLargeError(f"The body exceeds {self._max_body_bytes} bytes.")
            await exchange.answer(error, scope, receive)
            return
        try:
            await self._app(scope, exchange.bounded(receive), exchange.send)
        except Exception as error:  # the last line of defence: nothing internal may leave the process
            _logger.error("request crashed", exc_info=error)  # noqa: TRY400  structlog takes the exception itself
            if exchange.status:
                raise
            await exchange.answer(InternalError("Something went wrong on our side."), scope, receive)

    def _record(self, exchange: "_Exchange", scope: Scope) -> None:
        if scope["path"] in _QUIET_PATHS:
            return
        route: str | None = getattr(scope.get("route"), "path", None)
        seconds = exchange.elapsed_seconds()
        status = exchange.status or 499  # the caller went away before an answer began
        self._telemetry.record_request(
            method=exchange.method, route=route, status=status, seconds=seconds, trace=exchange.trace
        )
        if self._access_log:
            path = route or _UNROUTED
            log_access(method=exchange.method, path_template=path, status=status, duration_ms=seconds * 1000)


class _Exchange:
    """One request and its answer on their way through the middleware."""

    def __init__(self, scope: Scope, send: Send, *, trace: TraceContext, limit: int) -> None:
        self.request_id = request_id_from(scope)
        self.trace = trace
        self.method: str = scope["method"]
        self.status = 0
        self._send = send
        self._limit = limit
        self._received = 0
        self._length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        self._started = time.perf_counter()
        self._is_head = self.method == "HEAD"
        if self._is_head:
            scope["method"] = "GET"  # RFC 9110 section 9.3.2: the same headers, without the content
        scope[HEAD_SCOPE_KEY] = self._is_head  # an answer without end must know that nobody reads it
        scope[REQUEST_ID_SCOPE_KEY] = self.request_id
        scope[TRACE_SCOPE_KEY] = self.trace

    def elapsed_seconds(self) -> float:
        return time.perf_counter() - self._started

    def declares_too_much(self) -> bool:
        return self._length.isdigit() and int(self._length[:20]) > self._limit

    def bounded(self, receive: Receive) -> Receive:
        async def bounded_receive() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                self._received += len(message.get("body", b""))
                if self._received > self._limit:
                    raise HTTPException(413)  # FastAPI turns any other error of reading into a 400
            return message

        return bounded_receive

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"request-id", self.request_id.encode())]
        elif self._is_head and message["type"] == "http.response.body":
            message = {
                "type": "http.response.body",
                "body": b"",
                "more_body": message.get("more_body", False),
            }
        await self._send(message)

    async def answer(
        self, error: InternalError | PayloadTooLargeError, scope: Scope, receive: Receive
    ) -> None:
        instance = Request(scope).url.path
        response = problem_response(error, instance=instance, request_id=self.request_id)
        await response(scope, receive, self.send)
