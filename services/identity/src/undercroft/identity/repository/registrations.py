"""Rows of registrations that wait for a mail to be read, and of the tokens that were mailed to people."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.models.users import EmailToken, Registration

_PRUNE_BATCH = 1_000


class RegistrationRepository:
    """Reads and writes registrations in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, registration: Registration) -> None:
        """Insert a registration."""
        self._session.add(registration)
        await self._session.flush()

    async def find(self, token_hash: bytes, *, now: datetime) -> Registration | None:
        """Return what a link belongs to."""
        statement = select(Registration).where(
            Registration.token_hash == token_hash, Registration.expires_at > now
        )
        return await self._session.scalar(statement)

    async def take(self, token_hash: bytes, *, now: datetime) -> Registration | None:
        """Return what a link belongs to and lock it: of two who follow it at once, the second finds nothing."""
        statement = (
            select(Registration)
            .where(Registration.token_hash == token_hash, Registration.expires_at > now)
            .with_for_update()
        )
        return await self._session.scalar(statement, execution_options={"populate_existing": True})

    async def newest(self, email_key: str, *, now: datetime) -> Registration | None:
        """Return the last registration of an address, locked."""
        statement = (
            select(Registration)
            .where(Registration.email_key == email_key, Registration.expires_at > now)
            .order_by(Registration.id.desc())
            .limit(1)
            .with_for_update()
        )
        return await self._session.scalar(statement)

    async def remove_all(self, email_key: str) -> None:
        """Delete every registration of an address: it has an account now."""
        await self._session.execute(
            delete(Registration).where(Registration.email_key == email_key),
            execution_options={"synchronize_session": False},
        )

    async def save(self) -> None:
        """Write what was changed."""
        await self._session.flush()

    async def prune(self, *, now: datetime) -> int:
        """Delete a bounded batch of expired ones; returns how many went."""
        doomed = select(Registration.id).where(Registration.expires_at <= now).limit(_PRUNE_BATCH)
        statement = delete(Registration).where(Registration.id.in_(doomed)).returning(Registration.id)
        return len((await self._session.execute(statement)).all())


class EmailTokenRepository:
    """Reads and writes mailed tokens in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, token: EmailToken) -> None:
        """Insert a token."""
        self._session.add(token)
        await self._session.flush()

    async def take(self, token_hash: bytes, *, purpose: str, now: datetime) -> EmailToken | None:
        """Delete a token that still works and return it: of two who use it at once, the second finds nothing."""
        statement = (
            delete(EmailToken)
            .where(
                EmailToken.token_hash == token_hash,
                EmailToken.purpose == purpose,
                EmailToken.expires_at > now,
            )
            .returning(EmailToken)
        )
        return await self._session.scalar(statement, execution_options={"synchronize_session": False})

    async def remove_all(self, user_id: UUID, *, purpose: str) -> None:
        """Delete every token of somebody for a purpose."""
        await self._session.execute(
            delete(EmailToken).where(EmailToken.user_id == user_id, EmailToken.purpose == purpose),
            execution_options={"synchronize_session": False},
        )

    async def prune(self, *, now: datetime) -> int:
        """Delete a bounded batch of expired ones; returns how many went."""
        doomed = select(EmailToken.token_hash).where(EmailToken.expires_at <= now).limit(_PRUNE_BATCH)
        statement = (
            delete(EmailToken).where(EmailToken.token_hash.in_(doomed)).returning(EmailToken.token_hash)
        )
        return len((await self._session.execute(statement)).all())
