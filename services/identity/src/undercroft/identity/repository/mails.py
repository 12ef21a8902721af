"""Rows of mails that wait to be sent."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.models.users import Mail

# Whoever sends mails listens here; the notification arrives with the commit.
MAIL_CHANNEL: Final = "identity_mails"

_PRUNE_BATCH: Final = 1_000


class WaitingMail(NamedTuple):
    """A mail that this replica has taken on."""

    id: UUID
    recipient: str
    content: bytes
    attempts: int


class MailRepository:
    """Reads and writes waiting mails in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, mail: Mail) -> None:
        """Insert a mail; whoever sends it is woken by the commit."""
        self._session.add(mail)
        await self._session.flush()
        await self._session.execute(select(func.pg_notify(MAIL_CHANNEL, "")))

    async def claim(self, *, now: datetime, lease_until: datetime, limit: int) -> Sequence[WaitingMail]:
        """Take on mails that are due, so that no other replica does until the lease ends."""
        due = (
            select(Mail.id)
            .where(Mail.due_at <= now, Mail.expires_at > now)
            .order_by(Mail.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        statement = (
            update(Mail)
            .where(Mail.id.in_(due.scalar_subquery()))
            .values(due_at=lease_until, attempts=Mail.attempts + 1)
            .returning(Mail.id, Mail.recipient, Mail.content, Mail.attempts)
        )
        rows = await self._session.execute(statement, execution_options={"synchronize_session": False})
        return [WaitingMail._make(row) for row in rows]

    async def postpone(self, mail_id: UUID, *, until: datetime) -> None:
        """Let a mail wait for its next attempt."""
        await self._session.execute(
            update(Mail).where(Mail.id == mail_id).values(due_at=until),
            execution_options={"synchronize_session": False},
        )

    async def remove(self, mail_id: UUID) -> None:
        """Delete a mail that was handed over."""
        await self._session.execute(
            delete(Mail).where(Mail.id == mail_id), execution_options={"synchronize_session": False}
        )

    async def prune(self, *, now: datetime) -> int:
        """Delete a bounded batch of mails that could not be sent in time; returns how many went."""
        doomed = select(Mail.id).where(Mail.expires_at <= now).limit(_PRUNE_BATCH)
        statement = delete(Mail).where(Mail.id.in_(doomed)).returning(Mail.id)
        return len((await self._session.execute(statement)).all())
