"""Rows of authorization codes and pushed requests: what is used once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.models.oauth import AuthorizationCode, PushedRequest
from undercroft.identity.models.sessions import Grant


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """An authorization request that was pushed."""

    client_id: UUID
    parameters: Mapping[str, Any]  # JSON, as it was stored
    thumbprint: str | None
    expires_at: datetime


class CodeRepository:
    """Reads and writes codes and pushed requests in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, row: AuthorizationCode | PushedRequest) -> None:
        """Insert a code or a pushed request."""
        self._session.add(row)
        await self._session.flush()

    async def save(self) -> None:
        """Write what was changed about loaded rows."""
        await self._session.flush()

    async def find_code(self, code_hash: bytes) -> tuple[AuthorizationCode, Grant] | None:
        """Return a code with its grant, locked: of two who present it one waits for the other."""
        statement = (
            select(AuthorizationCode, Grant)
            .join(Grant, Grant.id == AuthorizationCode.grant_id)
            .where(AuthorizationCode.code_hash == code_hash)
            .with_for_update(of=AuthorizationCode)
        )
        rows = await self._session.execute(statement, execution_options={"populate_existing": True})
        row = rows.one_or_none()
        return None if row is None else (row[0], row[1])

    async def find_request(self, uri_hash: bytes) -> StoredRequest | None:
        """Return a pushed request."""
        row = await self._session.scalar(
            select(PushedRequest).where(PushedRequest.uri_hash == uri_hash),
            execution_options={"populate_existing": True},
        )
        if row is None:
            return None
        return StoredRequest(row.client_id, row.parameters, row.dpop_thumbprint, row.expires_at)

    async def keep_request(self, uri_hash: bytes, *, until: datetime) -> None:
        """Let a pushed request live longer: somebody is signing in for it."""
        statement = update(PushedRequest).where(PushedRequest.uri_hash == uri_hash).values(expires_at=until)
        await self._session.execute(statement, execution_options={"synchronize_session": False})

    async def use_request(self, uri_hash: bytes) -> bool:
        """Delete a pushed request; False when somebody else has used it."""
        statement = delete(PushedRequest).where(PushedRequest.uri_hash == uri_hash)
        rows = await self._session.execute(statement.returning(PushedRequest.client_id))
        return rows.one_or_none() is not None
