"""Rows of OAuth clients."""

from typing import cast
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.domain.oauth.clients import AuthMethod, Client
from undercroft.identity.domain.signing_keys import Algorithm
from undercroft.identity.errors.oauth_clients import OAuthClientNotFoundError
from undercroft.identity.models.oauth import OAuthClient
from undercroft.shared.ids import TypeId
from undercroft.shared.pagination import Page, PageParams

# Any number that no other advisory lock of this database uses.
_OPERATOR_CLIENTS_LOCK = 0x6F70_636C_6E74


class ClientRepository:
    """Reads and writes clients in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, client_id: UUID) -> Client | None:
        """Return a client as the authorization server sees it, whoever owns it."""
        row = await self._session.scalar(
            select(OAuthClient).where(OAuthClient.id == client_id),
            execution_options={"populate_existing": True},
        )
        return None if row is None else _client(row)

    async def get(self, client_id: UUID, *, owner: UUID | None) -> OAuthClient:
        """Return an owner's client; raises `OAuthClientNotFoundError`."""
        statement = select(OAuthClient).where(OAuthClient.id == client_id, _belongs_to(owner))
        return _found(await self._session.scalar(statement))

    async def get_locked(self, client_id: UUID, *, owner: UUID | None) -> OAuthClient:
        """Return an owner's client that nobody else changes until this transaction ends."""
        statement = select(OAuthClient).where(OAuthClient.id == client_id, _belongs_to(owner))
        return _found(
            await self._session.scalar(
                statement.with_for_update(), execution_options={"populate_existing": True}
            )
        )

    async def list(self, page: PageParams, *, owner: UUID | None) -> Page[OAuthClient]:
        """Return a page of an owner's clients, oldest first."""
        return await page.fetch(self._session, select(OAuthClient).where(_belongs_to(owner)), OAuthClient.id)

    async def count(self, *, owner: UUID | None) -> int:
        """Count an owner's clients."""
        statement = select(func.count()).select_from(OAuthClient).where(_belongs_to(owner))
        return await self._session.scalar(statement) or 0

    async def lock_operators(self) -> None:
        """Make those who register clients of the operator take turns, so that a count holds."""
        await self._session.execute(select(func.pg_advisory_xact_lock(_OPERATOR_CLIENTS_LOCK)))

    async def add(self, client: OAuthClient) -> None:
        """Insert a client."""
        self._session.add(client)
        await self._session.flush()

    async def save(self) -> None:
        """Write what was changed about loaded clients."""
        await self._session.flush()

    async def remove(self, client: OAuthClient) -> None:
        """Delete a client and everything that was issued to it."""
        await self._session.delete(client)
        await self._session.flush()


def _found(client: OAuthClient | None) -> OAuthClient:
    if client is None:
        raise OAuthClientNotFoundError("There is no such OAuth client.")
    return client


def _belongs_to(owner: UUID | None) -> ColumnElement[bool]:
    return OAuthClient.organization_id.is_(None) if owner is None else OAuthClient.organization_id == owner


def _client(row: OAuthClient) -> Client:
    return Client(
        id=row.id,
        client_id=str(TypeId("client", row.id)),
        organization_id=row.organization_id,
        name=row.name,
        auth_method=cast("AuthMethod", row.token_endpoint_auth_method),
        secret_hash=row.secret_hash,
        previous_secret_hash=row.previous_secret_hash,
        previous_expires_at=row.previous_expires_at,
        redirect_uris=tuple(row.redirect_uris),
        post_logout_redirect_uris=tuple(row.post_logout_redirect_uris),
        grant_types=frozenset(row.grant_types),
        scopes=frozenset(row.scopes),
        id_token_algorithm=cast("Algorithm", row.id_token_signed_response_alg),
        is_consent_required=row.is_consent_required,
        is_pushed_request_required=row.is_pushed_request_required,
        is_dpop_required=row.is_dpop_required,
    )
