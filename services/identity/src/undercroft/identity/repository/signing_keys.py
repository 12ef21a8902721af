"""Rows of signing keys."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.models.oauth import SigningKey

# Any number that no other advisory lock of this database uses.
_SIGNING_KEY_LOCK = 0x73_6967_6E6B_6579


class SigningKeyRepository:
    """Reads and writes signing keys in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock(self) -> None:
        """Make replicas that would make keys at the same moment take turns."""
        await self._session.execute(select(func.pg_advisory_xact_lock(_SIGNING_KEY_LOCK)))

    async def list_published(self, now: datetime) -> Sequence[SigningKey]:
        """Return every key that is still published, the first to sign first."""
        statement = select(SigningKey).where(SigningKey.published_until > now)
        statement = statement.order_by(SigningKey.signs_from, SigningKey.id)
        rows = await self._session.scalars(statement, execution_options={"populate_existing": True})
        return rows.all()

    async def add(self, key: SigningKey) -> None:
        """Insert a key."""
        self._session.add(key)
        await self._session.flush()

    async def save(self) -> None:
        """Write what was changed about loaded keys."""
        await self._session.flush()

    async def prune(self, now: datetime) -> int:
        """Delete keys of which no valid token is left; returns how many went."""
        statement = delete(SigningKey).where(SigningKey.published_until <= now).returning(SigningKey.id)
        return len((await self._session.execute(statement)).all())
