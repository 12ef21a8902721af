"""Background work of the flags service: snapshots that follow the database, tables that stay small."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from undercroft.flags.dependencies import get_repositories
from undercroft.flags.models import idempotency_keys, outbox
from undercroft.flags.service.schedules import ScheduleRunner
from undercroft.flags.service.snapshots import SnapshotRefresher
from undercroft.flags.service.usage import UsageCounter, UsageService
from undercroft.shared.db import Database
from undercroft.shared.errors import UnavailableError
from undercroft.shared.events.outbox import channel_of, prune_outbox
from undercroft.shared.idempotency import prune_idempotency_keys
from undercroft.shared.logs import get_logger
from undercroft.shared.notifications import NotificationListener

_PRUNE_INTERVAL_SECONDS: Final = 600.0
_PIECE_PAUSE_SECONDS: Final = 0.01
_NEXT_BATCH_SECONDS: Final = 1.0
_USAGE_RETENTION: Final = timedelta(days=30)

_logger = get_logger(__name__)


async def follow_changes(
    refresher: SnapshotRefresher, listener: NotificationListener, *, poll_seconds: float
) -> None:
    """Refresh on every notification, and every `poll_seconds` in case one was lost; for ever.

    Between two refreshes, flags of a large environment are compiled before somebody asks for them.
    Every change publishes an event, so the outbox's channel is the one to listen on.
    """
    is_away, is_behind = False, False
    with listener.subscribe(channel_of(outbox)) as subscription:
        while not listener.is_closed:
            try:
                await refresher.refresh()
                is_away = False
                is_behind = await refresher.compile_ahead()
            except UnavailableError:
                if not is_away:  # one line for an outage, not one every two seconds
                    _logger.warning("snapshots_stale")
                is_away, is_behind = True, False
            await subscription.wait(_PIECE_PAUSE_SECONDS if is_behind else poll_seconds)


async def run_schedules(database: Database, *, poll_seconds: float) -> None:
    """Make scheduled changes when their time has come, those missed while nobody ran too; for ever.

    Every replica does; the lock on a schedule decides which of them makes a step.
    """
    while True:
        try:
            while await run_schedule(database):
                pass
        except UnavailableError:  # whoever follows the changes has said so
            pass
        await asyncio.sleep(poll_seconds)


async def run_schedule(database: Database) -> bool:
    """Make the step that is due first, in a transaction of its own; tell whether there was one."""
    async with database.begin() as session:
        return await ScheduleRunner(get_repositories(session)).run_next()


async def flush_usage(database: Database, counter: UsageCounter, *, interval_seconds: float) -> None:
    """Store what was counted, time and again, and once more at the end."""
    try:
        while True:
            await asyncio.sleep(interval_seconds)
            await _flush_once(database, counter)
    finally:
        # Cancelled by whoever stops the service: what was counted since the last time is stored too.
        await asyncio.shield(_flush_once(database, counter))


async def _flush_once(database: Database, counter: UsageCounter) -> None:
    counted = counter.drain()
    if not counted:
        return
    try:
        async with database.begin() as session:
            await UsageService(get_repositories(session)).store(counted, at=datetime.now(UTC))
    except UnavailableError:
        counter.keep(counted)


async def prune(
    database: Database,
    *,
    usage_retention: timedelta = _USAGE_RETENTION,
    interval_seconds: float = _PRUNE_INTERVAL_SECONDS,
) -> None:
    """Delete expired events, stored answers and counts in bounded batches; for ever."""
    while True:
        try:
            is_more = await _prune_once(database, usage_retention)
        except UnavailableError:  # whoever follows the changes has said so
            is_more = False
        await asyncio.sleep(_NEXT_BATCH_SECONDS if is_more else interval_seconds)


async def _prune_once(database: Database, usage_retention: timedelta) -> bool:
    async with database.begin() as session:
        now = datetime.now(UTC)
        events = await prune_outbox(session, outbox, now=now)
        answers = await prune_idempotency_keys(session, idempotency_keys, now=now)
        counts = await get_repositories(session).usage.prune(before=now - usage_retention)
    return events + answers + counts > 0
