"""Rows of accounts that are over: sessions end with their events, the rest is deleted."""

import asyncio
from typing import Final

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.dependencies.accounts import Wiring
from undercroft.identity.repository.invitations import InvitationRepository
from undercroft.identity.repository.mails import MailRepository
from undercroft.identity.repository.registrations import EmailTokenRepository, RegistrationRepository
from undercroft.shared.logs import get_logger

_ACTOR: Final = "identity"
_INTERVAL_SECONDS: Final = 300.0
_PAUSE_SECONDS: Final = 1.0

_logger = get_logger(__name__)


async def prune_accounts(app: FastAPI, session: AsyncSession) -> int:
    """Delete a bounded batch of what is over; returns how many rows went."""
    wiring = Wiring(app, app.state.database, session)
    now = wiring.clock()
    unsent = await MailRepository(session).prune(now=now)
    if unsent:
        _logger.warning("mails could not be sent in time", mails=unsent)
    pruned = await wiring.sessions.end_expired(actor=_ACTOR)
    pruned += await RegistrationRepository(session).prune(now=now)
    pruned += await EmailTokenRepository(session).prune(now=now)
    pruned += await InvitationRepository(session).prune(now=now)
    return pruned + unsent


async def keep_pruning_accounts(
    app: FastAPI, *, interval_seconds: float = _INTERVAL_SECONDS, pause_seconds: float = _PAUSE_SECONDS
) -> None:
    """Delete what is over, a batch in a transaction; for ever."""
    while True:
        async with app.state.database.begin() as session:
            pruned = await prune_accounts(app, session)
        # What was pruned was a batch: more may be waiting.
        await asyncio.sleep(pause_seconds if pruned else interval_seconds)
