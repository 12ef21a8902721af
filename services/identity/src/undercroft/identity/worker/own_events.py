"""Follows the service's own outbox, so that what a replica holds in memory is what the database says."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from starlette.datastructures import State

from undercroft.identity.models.base import outbox
from undercroft.identity.service.signing import KeyRing
from undercroft.shared.db import Database
from undercroft.shared.errors import UnavailableError
from undercroft.shared.events import CloudEvent
from undercroft.shared.events.outbox import Cursor, channel_of, read_batch, tail_cursor
from undercroft.shared.logs import get_logger
from undercroft.shared.notifications import NotificationListener

OnEvents = Callable[[Sequence[CloudEvent]], Awaitable[None]]

POLL_SECONDS: Final = 30.0
_BATCH: Final = 500
_OF_CLIENTS: Final = "dev.undercroft.oauth_client."
_KEY_ROTATED: Final = "dev.undercroft.signing_key.rotated"
# A younger transaction committed before an older one that still runs: its events are readable when that has ended.
_PENDING_SECONDS: Final = 0.05

_logger = get_logger(__name__)


async def follow_own_events(
    database: Database,
    listener: NotificationListener,
    on_events: OnEvents,
    *,
    poll_seconds: float = POLL_SECONDS,
) -> None:
    """Hand over every event from now on, and an empty batch first: what was held before may be old; for ever."""
    with listener.subscribe(channel_of(outbox)) as subscription:
        async with database.session() as session:
            cursor = await tail_cursor(session)
        await on_events(())
        while not listener.is_closed:
            cursor, is_pending = await _catch_up(database, cursor, on_events)
            await subscription.wait(_PENDING_SECONDS if is_pending else poll_seconds)


async def _catch_up(database: Database, cursor: Cursor, on_events: OnEvents) -> tuple[Cursor, bool]:
    while True:
        async with database.session() as session:
            batch = await read_batch(session, outbox, after=cursor, limit=_BATCH)
        if not batch.events:
            return batch.cursor, batch.is_pending
        await on_events(batch.events)
        cursor = batch.cursor


async def keep_keys_current(ring: KeyRing, *, interval_seconds: float = POLL_SECONDS) -> None:
    """Read the signing keys again at an interval, in case a notification was lost, and make what is due; for ever."""
    is_away = False
    while True:
        try:
            await ring.refresh()
            is_away = False
        except UnavailableError:
            if not is_away:  # one line for an outage, not one every half minute
                _logger.warning("signing keys are stale")
            is_away = True
        await asyncio.sleep(interval_seconds)


async def refresh_memory(state: State, events: Sequence[CloudEvent]) -> None:
    """Bring what a replica holds in memory up to some events; without any, forget what may be old."""
    if not events:
        state.client_directory.forget_all()
    for event in events:
        if event.type.startswith(_OF_CLIENTS):
            state.client_directory.forget(event.subject)
    if not events or any(event.type == _KEY_ROTATED for event in events):
        await state.key_ring.refresh()
