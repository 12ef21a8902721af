"""What a password is compared with, read outside of any transaction.

Hashing waits its turn: a connection that is held meanwhile would be missing for everybody else.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, select

from undercroft.identity.models.users import EmailToken, User
from undercroft.shared.db import Database


class Credentials(NamedTuple):
    """Whom a password would sign in, and what it may not contain."""

    user_id: UUID
    password_hash: str | None
    email: str
    name: str


_CREDENTIALS = select(User.id, User.password_hash, User.email, User.name)


class CredentialRepository:
    """Reads credentials, each in a session of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, email_key: str) -> Credentials | None:
        """Return the credentials of an address."""
        return await self._find(User.email_key == email_key)

    async def find_of(self, user_id: UUID) -> Credentials | None:
        """Return the credentials of a user."""
        return await self._find(User.id == user_id)

    async def find_by_link(self, token_hash: bytes, *, purpose: str, now: datetime) -> Credentials | None:
        """Return the credentials of whoever was mailed a link that still works."""
        owner = select(EmailToken.user_id).where(
            EmailToken.token_hash == token_hash, EmailToken.purpose == purpose, EmailToken.expires_at > now
        )
        return await self._find(User.id == owner.scalar_subquery())

    async def _find(self, condition: ColumnElement[bool]) -> Credentials | None:
        async with self._database.read() as session:
            row = (await session.execute(_CREDENTIALS.where(condition))).one_or_none()
        return None if row is None else Credentials._make(row)
