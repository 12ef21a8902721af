"""Deciding about a device on another screen."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from undercroft.identity.domain.sign_in import SignedIn
from undercroft.identity.models.oauth import DeviceCode
from undercroft.identity.models.sessions import Grant
from undercroft.identity.repository.oauth.devices import DeviceRepository
from undercroft.identity.repository.oauth.grants import GrantRepository
from undercroft.identity.service.oauth.authorization import AuthorizationService
from undercroft.shared.ids import new_uuid7


class DeviceDecisions:
    """The use case behind the decision on `/device`."""

    def __init__(
        self,
        devices: DeviceRepository,
        grants: GrantRepository,
        authorization: AuthorizationService,
        *,
        grant_seconds: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._devices = devices
        self._grants = grants
        self._authorization = authorization
        self._grant_seconds = grant_seconds
        self._clock = clock

    async def decide(
        self, row: DeviceCode, signed_in: SignedIn, *, is_allowed: bool, organization_id: UUID | None
    ) -> None:
        """Let the device have what it asked for, or not. What it gets does not end with this session."""
        if is_allowed:
            place = await self._authorization.choose(signed_in.user_id, organization_id)
            grant = Grant(
                id=new_uuid7(),
                user_id=signed_in.user_id,
                client_id=row.client_id,
                session_id=None,
                organization_id=place,
                scopes=row.scopes,
                requested_claims={},
                resources=row.resources,
                methods=list(signed_in.methods),
                authenticated_at=signed_in.authenticated_at,
                expires_at=self._clock() + timedelta(seconds=self._grant_seconds),
            )
            await self._grants.add(grant)
            row.grant_id = grant.id
            await self._authorization.remember(signed_in.user_id, row.client_id, frozenset(row.scopes), place)
        row.status = "allowed" if is_allowed else "denied"
        await self._devices.save()
