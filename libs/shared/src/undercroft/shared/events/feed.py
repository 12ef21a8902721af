"""The feed of a service's outbox over HTTP: a long poll that other deployables follow."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from sqlalchemy import Table

from undercroft.shared.auth import ServicePrincipal
from undercroft.shared.db import get_database
from undercroft.shared.events.event import FEED_PATH, MAX_WAIT_SECONDS, FeedPage
from undercroft.shared.events.outbox import (
    START,
    Batch,
    Cursor,
    channel_of,
    check_cursor,
    read_batch,
    tail_cursor,
)
from undercroft.shared.notifications import NotificationListener, Subscription

_SETTLE_SECONDS: Final = 0.02
_MAX_SETTLE_SECONDS: Final = 0.2
_SLICE_SECONDS: Final = 1.0
_FALLBACK_SECONDS: Final = 5.0


def feed_router(table: Table) -> APIRouter:
    """Serve an outbox to other deployables; `app.state` holds `database` and `notifications`."""
    router = APIRouter(include_in_schema=False)

    @router.get(FEED_PATH)
    async def read_events(
        request: Request,
        _: ServicePrincipal,
        after: str = "tail",
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
        wait: Annotated[float, Query(ge=0, le=MAX_WAIT_SECONDS)] = 0,
    ) -> FeedPage:
        """Return the events after a cursor (or `start`, or `tail`), waiting up to `wait` seconds for the first."""
        poll = _Poll(request, table, limit=limit)
        batch = await poll.run(await poll.resolve(after), wait_seconds=wait)
        return FeedPage(items=batch.events, next_cursor=batch.cursor.encode())

    return router


class _Poll:
    """One long poll. It holds a connection only while it reads, never while it waits."""

    def __init__(self, request: Request, table: Table, *, limit: int) -> None:
        self._state = request.app.state
        self._database = get_database(request)
        self._table = table
        self._limit = limit

    async def resolve(self, after: str) -> Cursor:
        if after == "start":
            return START
        async with self._database.session() as session:
            if after == "tail":
                return await tail_cursor(session)
            cursor = Cursor.decode(after)
            await check_cursor(session, self._table, cursor)
            return cursor

    async def run(self, cursor: Cursor, *, wait_seconds: float) -> Batch:
        listener: NotificationListener = self._state.notifications
        deadline = asyncio.get_running_loop().time() + wait_seconds
        settle_seconds = _SETTLE_SECONDS
        with listener.subscribe(channel_of(self._table)) as subscription:
            while True:
                batch = await self._read(cursor)
                left = deadline - asyncio.get_running_loop().time()
                if batch.events or left <= 0 or self._is_stopping(listener):
                    return batch
                if batch.is_pending:  # no notification tells when an older transaction ends
                    await asyncio.sleep(min(left, settle_seconds))
                    settle_seconds = min(settle_seconds * 1.2, _MAX_SETTLE_SECONDS)
                else:
                    settle_seconds = _SETTLE_SECONDS
                    await self._wait(subscription, listener, min(left, _FALLBACK_SECONDS))

    async def _read(self, cursor: Cursor) -> Batch:
        async with self._database.session() as session:
            return await read_batch(session, self._table, after=cursor, limit=self._limit)

    async def _wait(
        self, subscription: Subscription, listener: NotificationListener, timeout_seconds: float
    ) -> None:
        """Wait in slices, so that a stopping process is not held up by those who wait for news."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            if await subscription.wait(min(left, _SLICE_SECONDS)) or self._is_stopping(listener):
                return

    def _is_stopping(self, listener: NotificationListener) -> bool:
        return listener.is_closed or self._state.is_draining
