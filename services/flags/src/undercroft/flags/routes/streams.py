"""Live updates of OFREP (ADR-0008): a stream of server-sent events for each client (HTML standard, section 9.2)."""

import asyncio
from contextlib import AbstractContextManager
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from undercroft.flags.dependencies import EvaluatorDep, evaluation_service, stream_hub
from undercroft.flags.errors import EvaluationError
from undercroft.flags.routes.ofrep import refusal, requested_environment
from undercroft.flags.routes.ofrep_openapi import STREAM_OPENAPI
from undercroft.flags.service.announcements import SINCE_PARAMETER, STREAM_PATH
from undercroft.flags.service.streams import Subscription
from undercroft.shared.logs import get_logger
from undercroft.shared.request_context import HEAD_SCOPE_KEY

_LONGEST_STALL_SECONDS: Final = 30.0
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # proxies like nginx would collect the events
)

_logger = get_logger(__name__)

router = APIRouter(tags=["ofrep"])


@router.get(STREAM_PATH, openapi_extra=STREAM_OPENAPI, response_class=Response)
async def stream_changes(request: Request, principal: EvaluatorDep) -> Response:
    """Tell of every change of the flags in the caller's environment, as server-sent events.

    Browsers, whose EventSource sends no headers, use the address that a bulk evaluation announces.
    """
    try:
        snapshot = evaluation_service(request).snapshot_for(principal, requested_environment(request))
    except EvaluationError as error:
        return refusal(error)
    last_seen = request.headers.get("Last-Event-ID") or request.query_params.get(SINCE_PARAMETER)
    opened = stream_hub(request).open(snapshot, key=principal.subject, last_seen=last_seen)
    return EventStream(opened, is_head=request.scope.get(HEAD_SCOPE_KEY, False))


class EventStream(Response):
    """An answer that goes on until its subscription or its client ends it.

    One event at a time is handed over; while a client does not take it nothing else is kept for it than the newest
    one, and after 30 s it is given up.
    """

    def __init__(
        self,
        opened: AbstractContextManager[Subscription],
        *,
        is_head: bool = False,
        stall_seconds: float = _LONGEST_STALL_SECONDS,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self.raw_headers = [*_HEADERS]
        self._is_head = is_head
        self._opened = opened
        self._stall_seconds = stall_seconds

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until somebody ends it; raises what `opened` raises before anything is sent."""
        with self._opened as subscription:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if self._is_head:
                await send({"type": "http.response.body", "body": b""})
                return
            watcher = asyncio.create_task(_end_when_gone(subscription, receive))
            try:
                await self._send_events(subscription, send)
            finally:
                watcher.cancel()

    async def _send_events(self, subscription: Subscription, send: Send) -> None:
        while (frame := await subscription.next()) is not None:
            try:
                async with asyncio.timeout(self._stall_seconds):
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
            except TimeoutError:
                _logger.info("stream stalled", seconds=self._stall_seconds)
                return
        await send({"type": "http.response.body", "body": b""})


async def _end_when_gone(subscription: Subscription, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    subscription.end()
