"""Background work of the flags service: snapshots that follow the database, tables that stay small."""

import asyncio
from datetime import UTC, datetime
from typing import Final

from undercroft.flags.models import idempotency_keys, outbox
from undercroft.flags.service.snapshots import SnapshotRefresher
from undercroft.shared.db import Database
from undercroft.shared.errors import UnavailableError
from undercroft.shared.events.outbox import channel_of, prune_outbox
from undercroft.shared.idempotency import prune_idempotency_keys
from undercroft.shared.logs import get_logger
from undercroft.shared.notifications import NotificationListener

_PRUNE_INTERVAL_SECONDS: Final = 600.0
_NEXT_BATCH_SECONDS: Final = 1.0

_logger = get_logger(__name__)


async def follow_changes(
    refresher: SnapshotRefresher, listener: NotificationListener, *, poll_seconds: float
) -> None:
    """Refresh on every notification, and every `poll_seconds` in case one was lost; for ever.

    Every change publishes an event, so the outbox's channel is the one to listen on.
    """
    is_away = False
    with listener.subscribe(channel_of(outbox)) as subscription:
        while not listener.is_closed:
            try:
                await refresher.refresh()
                is_away = False
            except UnavailableError:
                if not is_away:  # one line for an outage, not one every two seconds
                    _logger.warning("snapshots_stale")
                is_away = True
            await subscription.wait(poll_seconds)


async def prune(database: Database, *, interval_seconds: float = _PRUNE_INTERVAL_SECONDS) -> None:
    """Delete expired events and stored answers in bounded batches; for ever."""
    while True:
        try:
            is_more = await _prune_once(database)
        except UnavailableError:  # whoever follows the changes has said so
            is_more = False
        await asyncio.sleep(_NEXT_BATCH_SECONDS if is_more else interval_seconds)


async def _prune_once(database: Database) -> bool:
    async with database.begin() as session:
        now = datetime.now(UTC)
        events = await prune_outbox(session, outbox, now=now)
        answers = await prune_idempotency_keys(session, idempotency_keys, now=now)
    return events + answers > 0
