"""Rows of consents."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.models.oauth import Consent, OAuthClient
from undercroft.identity.models.organizations import Organization
from undercroft.shared.pagination import Page, PageParams


class StoredConsent(NamedTuple):
    """What somebody has allowed a client."""

    client_id: UUID
    client_name: str
    organization_id: UUID | None
    organization_name: str | None
    scopes: list[str]
    updated_at: datetime


_CONSENTS = (
    select(
        Consent.client_id,
        OAuthClient.name.label("client_name"),
        Consent.organization_id,
        Organization.name.label("organization_name"),
        Consent.scopes,
        Consent.updated_at,
    )
    .join(OAuthClient, OAuthClient.id == Consent.client_id)
    .outerjoin(Organization, Organization.id == Consent.organization_id)
)


class ConsentRepository:
    """Reads and writes consents in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, user_id: UUID, client_id: UUID) -> StoredConsent | None:
        """Return what somebody has allowed a client, None when nothing."""
        statement = _CONSENTS.where(Consent.user_id == user_id, Consent.client_id == client_id)
        row = (await self._session.execute(statement)).one_or_none()
        return None if row is None else StoredConsent._make(row)

    async def list(self, page: PageParams, *, user_id: UUID) -> Page[StoredConsent]:
        """Return a page of what somebody has allowed, by client."""
        rows = await page.fetch(
            self._session, select(Consent).where(Consent.user_id == user_id), Consent.client_id
        )
        among = Consent.client_id.in_([row.client_id for row in rows.items])
        found = await self._session.execute(
            _CONSENTS.where(Consent.user_id == user_id, among).order_by(Consent.client_id)
        )
        return Page[StoredConsent](
            items=[StoredConsent._make(row) for row in found], next_cursor=rows.next_cursor
        )

    async def newest(self, user_id: UUID, *, limit: int) -> Sequence[StoredConsent]:
        """Return what somebody has allowed, for a page that people look at, the latest first."""
        statement = _CONSENTS.where(Consent.user_id == user_id).order_by(Consent.updated_at.desc())
        return [StoredConsent._make(row) for row in await self._session.execute(statement.limit(limit))]

    async def put(self, consent: Consent) -> None:
        """Remember a consent instead of the one before."""
        values = {
            "user_id": consent.user_id,
            "client_id": consent.client_id,
            "organization_id": consent.organization_id,
            "scopes": consent.scopes,
            "updated_at": consent.updated_at,
        }
        kept = {name: values[name] for name in ("organization_id", "scopes", "updated_at")}
        statement = insert(Consent).values(values)
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=["user_id", "client_id"], set_=kept)
        )

    async def remove(self, user_id: UUID, client_id: UUID) -> bool:
        """Forget a consent; False when there was none."""
        statement = delete(Consent).where(Consent.user_id == user_id, Consent.client_id == client_id)
        rows = await self._session.execute(statement.returning(Consent.client_id))
        return rows.one_or_none() is not None
