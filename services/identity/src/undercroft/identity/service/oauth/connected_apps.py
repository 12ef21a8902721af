"""What somebody has allowed which client, and taking it back."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from undercroft.identity.domain.oauth.user_claims import subject_of
from undercroft.identity.errors.oauth_clients import OAuthClientNotFoundError
from undercroft.identity.events.grants import consent_event
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.oauth.consents import ConsentRepository, StoredConsent
from undercroft.identity.repository.oauth.grants import GrantRepository
from undercroft.identity.service.tokens import TokenService
from undercroft.shared.pagination import Page, PageParams

_MOST_SHOWN: Final = 100


class ConnectedAppService:
    """Use cases of a person's connected applications."""

    def __init__(
        self,
        consents: ConsentRepository,
        grants: GrantRepository,
        events: EventRepository,
        tokens: TokenService,
    ) -> None:
        self._consents = consents
        self._grants = grants
        self._events = events
        self._tokens = tokens

    async def list(self, page: PageParams, *, user_id: UUID) -> Page[StoredConsent]:
        """Return a page of somebody's connected applications."""
        return await self._consents.list(page, user_id=user_id)

    async def newest(self, user_id: UUID) -> Sequence[StoredConsent]:
        """Return somebody's connected applications for a page that people look at, the latest first."""
        return await self._consents.newest(user_id, limit=_MOST_SHOWN)

    async def disconnect(self, client_id: UUID, *, user_id: UUID) -> None:
        """Withdraw a consent; what was issued from it ends at once. Raises `OAuthClientNotFoundError`."""
        was_known = await self._consents.remove(user_id, client_id)
        revoked = await self._grants.revoke(user_id=user_id, client_id=client_id)
        if not was_known and not revoked:
            raise OAuthClientNotFoundError("This application is not connected.")
        await self._tokens.tell_revoked(revoked, actor=subject_of(user_id))
        event = consent_event("withdrawn", user_id=user_id, client_id=client_id, organization_id=None)
        await self._events.add(event)
