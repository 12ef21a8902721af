"""A way past FastAPI for the few requests that are asked thousands of times a second (decision 11)."""

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import cast

from fastapi import FastAPI, Response
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from undercroft.shared.logs import log_access
from undercroft.shared.request_context import REQUEST_ID_SCOPE_KEY, request_id_from
from undercroft.shared.settings import ServiceSettings
from undercroft.shared.telemetry import Telemetry, TraceContext


class Door(FastAPI, ABC):
    """An application that answers some requests itself, in front of everything that FastAPI does.

    A door answers only what it can answer in full. Whatever is unusual goes on to the routes, together with what was
    read of it: there alone it is decided what is wrong. Its answers are counted, logged and identified like theirs.
    """

    @abstractmethod
    def template_of(self, scope: Scope) -> str | None:
        """Return the template of the route that a request would take, None for what is not for the door."""

    @abstractmethod
    async def try_to_answer(self, scope: Scope, receive: Receive, taken: list[Message]) -> Response | None:
        """Answer, or return None for whatever the routes have to look at; what was received is in `taken`."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        template = self.template_of(scope) if scope["type"] == "http" else None
        if template is None:
            await super().__call__(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = request_id_from(scope)
        scope["app"] = self
        scope[REQUEST_ID_SCOPE_KEY] = request_id
        taken: list[Message] = []
        answer = await self.try_to_answer(scope, receive, taken)
        if answer is None:
            await super().__call__(scope, _after(taken, receive), send)
            return
        answer.raw_headers.append((b"request-id", request_id.encode()))
        await send(
            {
                "type": "http.response.start",
                "status": answer.status_code,
                "headers": answer.raw_headers,
            }
        )
        await send({"type": "http.response.body", "body": answer.body})
        self._record(scope, template, answer.status_code, request_id, time.perf_counter() - started)

    def _record(self, scope: Scope, template: str, status: int, request_id: str, seconds: float) -> None:
        settings: ServiceSettings = self.state.settings
        telemetry: Telemetry = self.state.telemetry
        is_traced = settings.access_log or telemetry.is_exporting
        trace: TraceContext | None = telemetry.begin_trace(scope["headers"]) if is_traced else None
        method: str = scope["method"]
        telemetry.record_request(method=method, route=template, status=status, seconds=seconds, trace=trace)
        if settings.access_log and trace is not None:
            log_access(
                method=method,
                path_template=template,
                status=status,
                duration_ms=seconds * 1000,
                request_id=request_id,
                trace_id=trace.trace_id,
            )


def headers_once(scope: Scope, names: Collection[bytes]) -> dict[bytes, bytes] | None:
    """Return some headers of a request; None when one of them was sent twice."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in names:
            if name in found:
                return None
            found[name] = value
    return found


async def receive_body(receive: Receive, taken: list[Message], *, at_most: int) -> bytes | None:
    """Receive a body whole into `taken`; None when the caller has gone or says more than so many bytes."""
    body = b""
    while True:
        message = await receive()
        taken.append(message)
        body += cast("bytes", message.get("body", b""))
        if message["type"] != "http.request" or len(body) > at_most:
            return None
        if not message.get("more_body", False):
            return body


def _after(taken: Sequence[Message], receive: Receive) -> Receive:
    """Return a way to receive what was taken, then what follows."""
    waiting = iter(taken)

    async def received() -> Message:
        return next(waiting, None) or await receive()

    return received
