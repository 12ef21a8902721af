"""Ordinary evaluations, answered before FastAPI, which takes several times as long as they do (decision 11).

The door answers only what it can answer in full. Whatever is unusual (no principal, a query, a wrong body, an error of
any kind) goes on to the routes together with what was read of it: there alone it is decided what is wrong.
"""

import time
from collections.abc import Sequence
from typing import Final, cast

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from undercroft.flags.routes.ofrep import (
    BULK_PATH,
    KEY_PREFIX,
    MAX_BODY_BYTES,
    EvaluationAnswer,
    bulk_answer,
    parse_context,
)
from undercroft.flags.service.announcements import Announcer
from undercroft.flags.service.evaluation import EvaluationService
from undercroft.shared.auth import PRINCIPAL_HEADER, Principal, PrincipalVerifier
from undercroft.shared.auth import Scope as Permission
from undercroft.shared.logs import log_access
from undercroft.shared.request_context import request_id_from
from undercroft.shared.settings import ServiceSettings
from undercroft.shared.telemetry import Telemetry, TraceContext

_SINGLE_TEMPLATE: Final = KEY_PREFIX + "{key:path}"
_BULK_PATHS: Final = frozenset({BULK_PATH, KEY_PREFIX})
_PRINCIPAL: Final = PRINCIPAL_HEADER.lower().encode()
_READ: Final = frozenset({_PRINCIPAL, b"content-type", b"content-length", b"if-none-match"})
_MEDIA_TYPES: Final = frozenset({b"application/json", b"application/json; charset=utf-8"})
_MAX_DIGITS: Final = 6


class EvaluationDoor(FastAPI):
    """The application, with ordinary evaluations answered in front of everything that FastAPI does."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(BULK_PATH):
            await super().__call__(scope, receive, send)
            return
        started = time.perf_counter()
        taken: list[Message] = []
        answer = await self._try_to_answer(scope, receive, taken)
        if answer is None:
            await super().__call__(scope, _after(taken, receive), send)
            return
        request_id = request_id_from(scope)
        answer.raw_headers.append((b"request-id", request_id.encode()))
        await send(
            {
                "type": "http.response.start",
                "status": answer.status_code,
                "headers": answer.raw_headers,
            }
        )
        await send({"type": "http.response.body", "body": answer.body})
        self._record(scope, answer.status_code, request_id, time.perf_counter() - started)

    async def _try_to_answer(
        self, scope: Scope, receive: Receive, taken: list[Message]
    ) -> EvaluationAnswer | None:
        """Evaluate, or return None for whatever the routes have to look at; what was received is in `taken`."""
        headers = _headers_of(scope)
        principal = None if headers is None else self._evaluator(headers.get(_PRINCIPAL, b""))
        if headers is None or principal is None:
            return None
        body = await _receive_body(receive, taken)
        if body is None:
            return None
        service: EvaluationService = self.state.evaluation_service
        path: str = scope["path"]
        try:
            context = parse_context(body)
            if path in _BULK_PATHS:
                tags = headers.get(b"if-none-match", b"").decode("latin-1")
                announcer: Announcer = self.state.announcer
                return bulk_answer(
                    service, announcer, principal, context, environment=None, if_none_match=tags
                )
            key = path[len(KEY_PREFIX) :]
            return EvaluationAnswer(*service.evaluate(principal, key, context, environment=None))
        except Exception:  # noqa: BLE001  whatever it is, the routes come upon it too, and render it
            return None

    def _evaluator(self, header: bytes) -> Principal | None:
        """Return the caller if it may evaluate."""
        verifier: PrincipalVerifier = self.state.principal_verifier
        try:
            principal = verifier.verify(header.decode("latin-1"))
        except Exception:  # noqa: BLE001  the routes' guard says what is wrong with it
            return None
        return principal if principal.has_scope(Permission.FLAGS_EVALUATE) else None

    def _record(self, scope: Scope, status: int, request_id: str, seconds: float) -> None:
        settings: ServiceSettings = self.state.settings
        telemetry: Telemetry = self.state.telemetry
        route = BULK_PATH if scope["path"] in _BULK_PATHS else _SINGLE_TEMPLATE
        is_traced = settings.access_log or telemetry.is_exporting
        trace: TraceContext | None = telemetry.begin_trace(scope["headers"]) if is_traced else None
        telemetry.record_request(method="POST", route=route, status=status, seconds=seconds, trace=trace)
        if settings.access_log and trace is not None:
            log_access(
                method="POST",
                path_template=route,
                status=status,
                duration_ms=seconds * 1000,
                request_id=request_id,
                trace_id=trace.trace_id,
            )


def _headers_of(scope: Scope) -> dict[bytes, bytes] | None:
    """Return the headers that the door reads; None unless each was sent at most once and holds the usual."""
    path: str = scope["path"]
    if scope["method"] != "POST" or scope["query_string"]:
        return None
    if path != BULK_PATH and not path.startswith(KEY_PREFIX):
        return None
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _READ:
            if name in found:
                return None
            found[name] = value
    length = found.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > _MAX_DIGITS or int(length) > MAX_BODY_BYTES:
        return None
    return found if found.get(b"content-type", b"application/json") in _MEDIA_TYPES else None


async def _receive_body(receive: Receive, taken: list[Message]) -> bytes | None:
    """Receive a body whole; None when the caller has gone or says too much."""
    body = b""
    while True:
        message = await receive()
        taken.append(message)
        body += cast("bytes", message.get("body", b""))
        if message["type"] != "http.request" or len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return body


def _after(taken: Sequence[Message], receive: Receive) -> Receive:
    """Return a way to receive what was taken, then what follows."""
    waiting = iter(taken)

    async def received() -> Message:
        return next(waiting, None) or await receive()

    return received
