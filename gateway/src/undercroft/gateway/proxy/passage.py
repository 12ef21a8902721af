"""One request on its way through the gateway, and its answer."""

import asyncio
import time
from http import HTTPStatus
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from undercroft.gateway.auth.credentials import Credential
from undercroft.gateway.errors import oauth_error_body
from undercroft.gateway.proxy.headers import RawHeader, RequestHeaders
from undercroft.gateway.proxy.pages import prefers_html, refusal_page
from undercroft.gateway.routes_table import MatchedRoute
from undercroft.shared.auth import Principal
from undercroft.shared.errors import PROBLEM_MEDIA_TYPE, ServiceError, problem_body
from undercroft.shared.http_client import CallContext, deadline_from
from undercroft.shared.request_context import request_id_from
from undercroft.shared.telemetry import TraceContext

CALLER_LEFT: Final = 499

_SECURITY_HEADERS: Final[tuple[RawHeader, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_NO_STORE: Final[RawHeader] = (b"cache-control", b"no-store")
_TRANSPORT_SECURITY: Final[RawHeader] = (b"strict-transport-security", b"max-age=31536000")
# After these the rest of the request is not read, so the connection cannot be used again.
_CLOSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})


class Passage:
    """What the pipeline learns about a request as it goes along; `extra_headers` are for the answer."""

    __slots__ = (
        "address",
        "body_read",
        "credential",
        "deadline",
        "extra_headers",
        "headers",
        "is_ended",
        "is_gone",
        "method",
        "path",
        "principal",
        "query",
        "receive",
        "request_id",
        "route",
        "scheme",
        "scope",
        "send",
        "sending_since",
        "started",
        "status",
        "trace",
    )

    headers: RequestHeaders
    path: str
    query: bytes

    def __init__(self, scope: Scope, receive: Receive, send: Send, trace: TraceContext) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.started = time.perf_counter()
        self.sending_since: float | None = None
        self.request_id = request_id_from(scope)
        self.trace = trace
        self.method: str = scope["method"]
        client = scope.get("client")
        self.address: str = client[0] if client else "unknown"
        self.scheme: str = scope.get("scheme", "http")
        self.principal: Principal | None = None
        self.credential: Credential | None = None
        self.extra_headers: list[RawHeader] = []
        self.route: MatchedRoute | None = None
        self.status = 0
        self.is_gone = False
        self.is_ended = False
        self.deadline = deadline_from(scope["headers"])
        self.body_read = asyncio.Event()
        self.body_read.set()

    def call_context(self) -> CallContext:
        """Return what calls made for this request pass on; others may share them, so no deadline of its own."""
        return CallContext(self.request_id, self.trace)

    def remaining_seconds(self) -> float | None:
        """Return how long the caller still waits, or None when it did not say."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def decorate(self, headers: list[RawHeader]) -> list[RawHeader]:
        """Add the gateway's own headers to an answer; what the answer says about security itself stands."""
        names = {header[0] for header in headers}
        headers.append((b"request-id", self.request_id.encode("ascii")))
        headers.extend(header for header in _SECURITY_HEADERS if header[0] not in names)
        if self.scheme == "https" and _TRANSPORT_SECURITY[0] not in names:
            headers.append(_TRANSPORT_SECURITY)
        headers.extend(self.extra_headers)
        return headers

    async def start(self, status: int, headers: list[RawHeader]) -> None:
        """Send the status and headers."""
        self.status = status
        await self.send({"type": "http.response.start", "status": status, "headers": self.decorate(headers)})

    async def answer(self, status: int, headers: list[RawHeader], body: bytes = b"") -> None:
        """Send a whole answer."""
        await self.start(status, headers)
        message: dict[str, Any] = {
            "type": "http.response.body",
            "body": b"" if self.method == "HEAD" else body,
        }
        await self.send(message)

    async def refuse(self, error: ServiceError) -> None:
        """Answer with a problem document (RFC 9457), or with what those understand whom the route is for."""
        errors = self.route.route.errors if self.route is not None else "page"
        if errors == "page":
            self.extra_headers.append((b"vary", b"Accept"))
        if errors == "oauth":
            body, headers = oauth_error_body(error), [(b"content-type", b"application/json"), _NO_STORE]
        elif errors == "page" and self._is_a_browsers():
            body, headers = refusal_page(error, request_id=self.request_id)
        else:
            body = problem_body(error, instance=getattr(self, "path", None), request_id=self.request_id)
            headers = [(b"content-type", PROBLEM_MEDIA_TYPE.encode("ascii"))]
        own = {name for name, _ in headers}
        of_error = [(name.lower().encode("ascii"), value.encode()) for name, value in error.headers.items()]
        headers.append((b"content-length", b"%d" % len(body)))
        headers.extend(header for header in of_error if header[0] not in own)
        if error.status in _CLOSING:
            headers.append((b"connection", b"close"))
        await self.answer(error.status, headers, body)

    def _is_a_browsers(self) -> bool:
        accepted = [value for name, value in self.scope["headers"] if name == b"accept"]
        return prefers_html(b",".join(accepted).decode("latin-1"))
