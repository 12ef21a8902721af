"""Registering OAuth clients: by an organization for itself, or by the operator."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from undercroft.identity.domain.api_keys import unique
from undercroft.identity.domain.oauth.tokens import hash_secret, new_secret
from undercroft.identity.errors.oauth_clients import NoClientSecretError, OAuthClientLimitError
from undercroft.identity.errors.payload import refused_member
from undercroft.identity.events.grants import grant_revoked
from undercroft.identity.events.oauth_clients import ClientHappening, oauth_client_event
from undercroft.identity.models.oauth import OAuthClient
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.oauth.clients import ClientRepository
from undercroft.identity.repository.oauth.grants import GrantRepository
from undercroft.identity.repository.organizations import OrganizationRepository
from undercroft.identity.schemas.oauth_clients import (
    OAuthClientCreate,
    OAuthClientRead,
    OAuthClientRotate,
    OAuthClientUpdate,
)
from undercroft.identity.service.oauth.client_checks import (
    ClientOwner,
    check_client,
    check_held,
    check_scopes,
)
from undercroft.shared.ids import new_uuid7
from undercroft.shared.pagination import Page, PageParams
from undercroft.shared.preconditions import check_if_match, etag_for

_COLUMNS = {
    "require_consent": "is_consent_required",
    "require_pushed_authorization_requests": "is_pushed_request_required",
    "dpop_bound_access_tokens": "is_dpop_required",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRepositories:
    """Where the use cases of clients read and write."""

    clients: ClientRepository
    grants: GrantRepository
    organizations: OrganizationRepository
    events: EventRepository


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """A client and its new secret, if it has one, for the one answer that shows it."""

    client: OAuthClient
    secret: str | None


class OAuthClientService:
    """Use cases of the clients of one owner at a time."""

    def __init__(
        self, repositories: ClientRepositories, *, max_clients: int, clock: Callable[[], datetime]
    ) -> None:
        self._clients = repositories.clients
        self._grants = repositories.grants
        self._organizations = repositories.organizations
        self._events = repositories.events
        self._max_clients = max_clients
        self._clock = clock

    async def create(self, new: OAuthClientCreate, *, owner: ClientOwner) -> RegisteredClient:
        """Register a client; raises `UnprocessableError`, `ScopeNotHeldError` and `OAuthClientLimitError`."""
        check_scopes(new.scopes, owner)
        _require_consent_kept(owner, is_required=new.require_consent)
        await self._require_room(owner)
        values = new.model_dump(by_alias=False)
        method = new.token_endpoint_auth_method
        values["token_endpoint_auth_method"] = method or _default_method(new.type)
        secret = new_secret() if new.type == "confidential" else None
        client = OAuthClient(
            id=new_uuid7(),
            organization_id=owner.organization_id,
            secret_hash=None if secret is None else hash_secret(secret),
            created_by=owner.principal.subject,
            **{_COLUMNS.get(name, name): value for name, value in values.items() if name != "scopes"},
            scopes=unique(new.scopes),
        )
        check_client(client)
        await self._clients.add(client)
        await self._tell("created", client, owner)
        return RegisteredClient(client, secret)

    async def get(self, client_id: UUID, *, owner: ClientOwner) -> OAuthClient:
        """Return a client; raises `OAuthClientNotFoundError`."""
        return await self._clients.get(client_id, owner=owner.organization_id)

    async def list(self, page: PageParams, *, owner: ClientOwner) -> Page[OAuthClient]:
        """Return a page of the owner's clients."""
        return await self._clients.list(page, owner=owner.organization_id)

    async def update(
        self, client_id: UUID, change: OAuthClientUpdate, *, owner: ClientOwner, if_match: str | None
    ) -> OAuthClient:
        """Change what the body names; raises what `create` raises, and `PreconditionFailedError`."""
        client = await self._get_locked(client_id, owner=owner, if_match=if_match)
        values = change.model_dump(include=change.model_fields_set, by_alias=False)
        if "scopes" in values:
            check_scopes(change.scopes, owner)
            values["scopes"] = unique(change.scopes)
        if "require_consent" in values and client.is_consent_required:
            _require_consent_kept(owner, is_required=change.require_consent)
        changed = {_COLUMNS.get(name, name): value for name, value in values.items()}
        if any(getattr(client, name) != value for name, value in changed.items()):
            for name, value in changed.items():
                setattr(client, name, value)
            check_client(client)
            await self._save(client, owner)
        return client

    async def rotate_secret(
        self, client_id: UUID, how: OAuthClientRotate, *, owner: ClientOwner, if_match: str | None
    ) -> RegisteredClient:
        """Replace the secret; the old one works until the grace ends. Raises `NoClientSecretError`."""
        client = await self._get_locked(client_id, owner=owner, if_match=if_match)
        if client.secret_hash is None:
            raise NoClientSecretError("A public client has no secret.")
        check_held(client.scopes, owner)
        secret, graced = new_secret(), how.grace_seconds > 0
        client.previous_secret_hash = client.secret_hash if graced else None
        client.previous_expires_at = self._clock() + timedelta(seconds=how.grace_seconds) if graced else None
        client.secret_hash = hash_secret(secret)
        await self._save(client, owner)
        return RegisteredClient(client, secret)

    async def delete(self, client_id: UUID, *, owner: ClientOwner, if_match: str | None) -> None:
        """Delete a client; what was issued to it ends at once."""
        client = await self._get_locked(client_id, owner=owner, if_match=if_match)
        actor = owner.principal.subject
        for grant_id, user_id, organization_id in await self._grants.revoke(client_id=client.id):
            event = grant_revoked(grant_id, user_id=user_id, organization_id=organization_id, actor=actor)
            await self._events.add(event)
        await self._tell("deleted", client, owner)
        await self._clients.remove(client)

    async def _require_room(self, owner: ClientOwner) -> None:
        if owner.organization_id is not None:  # the lock makes the count below exact
            await self._organizations.get_locked(owner.organization_id)
        else:
            await self._clients.lock_operators()
        if await self._clients.count(owner=owner.organization_id) >= self._max_clients:
            raise OAuthClientLimitError(
                f"There are {self._max_clients} OAuth clients already; delete one first."
            )

    async def _get_locked(self, client_id: UUID, *, owner: ClientOwner, if_match: str | None) -> OAuthClient:
        client = await self._clients.get_locked(client_id, owner=owner.organization_id)
        check_if_match(if_match, etag_for(client.revision))
        return client

    async def _save(self, client: OAuthClient, owner: ClientOwner) -> None:
        client.revision += 1
        client.updated_at = self._clock()
        await self._clients.save()
        await self._tell("updated", client, owner)

    async def _tell(self, happening: ClientHappening, client: OAuthClient, owner: ClientOwner) -> None:
        read = OAuthClientRead.model_validate(client)
        await self._events.add(oauth_client_event(happening, read, actor=owner.principal.subject))


def _default_method(client_type: str) -> str:
    return "none" if client_type == "public" else "client_secret_basic"


def _require_consent_kept(owner: ClientOwner, *, is_required: bool) -> None:
    if not is_required and owner.organization_id is not None:
        raise refused_member(
            "#/requireConsent", "Only the operator's applications go without consent.", "consent_required"
        )
