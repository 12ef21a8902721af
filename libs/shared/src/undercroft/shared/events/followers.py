"""Following another service's feed with an effect in memory: caches that must hear of every change."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from undercroft.shared.errors import BadGatewayError, GatewayTimeoutError, ServiceError, UnavailableError
from undercroft.shared.events.event import (
    FEED_PATH,
    CloudEvent,
    CursorGoneError,
    CursorInvalidError,
    FeedPage,
)
from undercroft.shared.http_client import CallOptions, ServiceClient
from undercroft.shared.logs import get_logger

FOLLOW_WAIT_SECONDS: Final = 20.0

_PAGE_LIMIT: Final = 200
_READ_MARGIN_SECONDS: Final = 10
_LEAST_WAIT_SECONDS: Final = 0.2
_FIRST_BACKOFF_SECONDS: Final = 0.05
_MAX_BACKOFF_DOUBLINGS: Final = 6
_OUTAGES: Final = (UnavailableError, BadGatewayError, GatewayTimeoutError)
_GAPS: Final = frozenset({CursorGoneError.code, CursorInvalidError.code})

_logger = get_logger(__name__)


class FeedClient(Protocol):
    """Reads one feed."""

    async def read(self, *, after: str, wait_seconds: float) -> FeedPage:
        """Return the page after a cursor; raises the feed's errors."""


class HttpFeedClient:
    """Reads the feed of the deployable behind a `ServiceClient`."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def read(self, *, after: str, wait_seconds: float) -> FeedPage:
        """Return the page after a cursor."""
        query: dict[str, str | int] = {"after": after, "limit": _PAGE_LIMIT, "wait": str(wait_seconds)}
        options = CallOptions(read_seconds=wait_seconds + _READ_MARGIN_SECONDS)
        return await self._client.get(FEED_PATH, FeedPage, query=query, options=options)


async def follow_in_memory(
    client: FeedClient,
    handler: Callable[[CloudEvent], Awaitable[None]],
    *,
    on_gap: Callable[[], Awaitable[None]],
) -> None:
    """Hand every event from now on to `handler`, for ever, in order.

    `on_gap` is awaited whenever following (re)starts at the tail, the first time too: what was remembered before
    may be stale. An unreachable feed is retried from the same place, so nothing is missed. An error of `handler`
    is raised: the supervisor starts again at the tail.
    """
    steady = SteadyFeedClient(client)
    cursor: str | None = None
    while True:
        if cursor is None:
            cursor = (await steady.read(after="tail", wait_seconds=0)).next_cursor
            await on_gap()
        try:
            page = await steady.read(after=cursor, wait_seconds=FOLLOW_WAIT_SECONDS)
        except ServiceError as error:
            if not is_gap(error):
                raise
            cursor = None
            continue
        for event in page.items:
            await handler(event)
        cursor = page.next_cursor


def is_gap(error: ServiceError) -> bool:
    """Tell whether an error means that events were missed, so that following must start afresh."""
    return error.code in _GAPS


class SteadyFeedClient:
    """Retries a feed that is away, with backoff and one line when it goes and one when it is back.

    A feed that answers with nothing at once, instead of waiting, is not asked again at once: it would be asked
    thousands of times a second.
    """

    def __init__(self, client: FeedClient) -> None:
        self._client = client

    async def read(self, *, after: str, wait_seconds: float) -> FeedPage:
        """Return the page after a cursor, however long it takes."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time()
            try:
                page = await self._client.read(after=after, wait_seconds=wait_seconds)
            except _OUTAGES as error:
                if failures == 0:
                    _logger.warning("feed interrupted", code=error.code, detail=error.detail)
                backoff = _FIRST_BACKOFF_SECONDS * 2 ** min(failures, _MAX_BACKOFF_DOUBLINGS)
                failures += 1
                await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311  spreads replicas
                continue
            if failures:
                _logger.info("feed resumed", failures=failures)
            if not page.items and loop.time() - asked < _LEAST_WAIT_SECONDS < wait_seconds:
                await asyncio.sleep(_LEAST_WAIT_SECONDS)
            return page
