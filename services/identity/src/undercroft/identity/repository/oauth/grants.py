"""Rows of grants and of the refresh tokens that belong to them."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.models.oauth import RevokedToken
from undercroft.identity.models.sessions import Grant, RefreshToken

_FRESH = {"populate_existing": True}


class RevokedGrant(NamedTuple):
    """What is told about a grant that ended."""

    id: UUID
    user_id: UUID
    organization_id: UUID | None


class GrantRepository:
    """Reads and writes grants in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, row: Grant | RefreshToken) -> None:
        """Insert a grant or a refresh token."""
        self._session.add(row)
        await self._session.flush()

    async def save(self) -> None:
        """Write what was changed about loaded rows."""
        await self._session.flush()

    async def find(self, grant_id: UUID) -> Grant | None:
        """Return a grant, None when it has ended."""
        return await self._session.scalar(select(Grant).where(Grant.id == grant_id), execution_options=_FRESH)

    async def find_refresh_token(
        self, token_hash: bytes, *, lock: bool = True
    ) -> tuple[RefreshToken, Grant] | None:
        """Return a refresh token with its grant; locked, so that of two who present it one waits for the other."""
        statement = select(RefreshToken, Grant).join(Grant, Grant.id == RefreshToken.grant_id)
        statement = statement.where(RefreshToken.token_hash == token_hash)
        if lock:
            statement = statement.with_for_update(of=RefreshToken)
        row = (await self._session.execute(statement, execution_options=_FRESH)).one_or_none()
        return None if row is None else (row[0], row[1])

    async def revoke(
        self, *, grant_id: UUID | None = None, user_id: UUID | None = None, client_id: UUID | None = None
    ) -> Sequence[RevokedGrant]:
        """Delete one grant, or those of a person to a client, or all of a client, with what was issued from them."""
        statement = delete(Grant)
        if grant_id is not None:
            statement = statement.where(Grant.id == grant_id)
        if user_id is not None:
            statement = statement.where(Grant.user_id == user_id)
        if client_id is not None:
            statement = statement.where(Grant.client_id == client_id)
        if grant_id is None and client_id is None:
            raise ValueError("a person's own sign-ins end with their sessions")
        returning = statement.returning(Grant.id, Grant.user_id, Grant.organization_id)
        rows = await self._session.execute(returning, execution_options={"synchronize_session": False})
        return [RevokedGrant._make(row) for row in rows]

    async def revoke_token(self, jti: str, expires_at: datetime) -> bool:
        """Remember a revoked access token until it expires; False when it was revoked before."""
        if await self._session.get(RevokedToken, jti) is not None:
            return False
        self._session.add(RevokedToken(jti=jti, expires_at=expires_at))
        await self._session.flush()
        return True
