"""Rows that nobody needs any more, deleted in bounded batches."""

import asyncio
from typing import Final

from undercroft.identity.dependencies.callers import utc_now
from undercroft.identity.models.base import idempotency_keys, outbox
from undercroft.identity.repository.oauth.pruning import prune_oauth
from undercroft.identity.repository.signing_keys import SigningKeyRepository
from undercroft.shared.db import Database
from undercroft.shared.events.outbox import prune_outbox
from undercroft.shared.idempotency import prune_idempotency_keys

_PRUNE_INTERVAL_SECONDS: Final = 600.0
_PRUNE_PAUSE_SECONDS: Final = 1.0


async def keep_pruning(database: Database, *, interval_seconds: float = _PRUNE_INTERVAL_SECONDS) -> None:
    """Delete expired events and stored answers in bounded batches; for ever."""
    while True:
        async with database.begin() as session:
            now = utc_now()
            pruned = await prune_outbox(session, outbox, now=now)
            pruned += await prune_idempotency_keys(session, idempotency_keys, now=now)
            pruned += await prune_oauth(session, now=now)
            pruned += await SigningKeyRepository(session).prune(now)
        # What was pruned was a batch: more may be waiting.
        await asyncio.sleep(_PRUNE_PAUSE_SECONDS if pruned else interval_seconds)
