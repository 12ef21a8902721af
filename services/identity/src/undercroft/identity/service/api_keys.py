"""What can be done with API keys: nobody hands on more than they hold, and every secret is shown once."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from undercroft.identity.domain.api_keys import KeyOwner, first_not_for_keys, unique
from undercroft.identity.errors.api_keys import ApiKeyLimitError, EnvironmentNotHeldError, ScopeNotHeldError
from undercroft.identity.errors.payload import refused_member
from undercroft.identity.events.api_keys import KeyHappening, api_key_event
from undercroft.identity.models.api_keys import ApiKey
from undercroft.identity.repository.api_keys import ApiKeyRepository
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.organizations import OrganizationRepository
from undercroft.identity.schemas.api_keys import ApiKeyCreate, ApiKeyRead, ApiKeyRotate, ApiKeyUpdate
from undercroft.shared.ids import new_uuid7
from undercroft.shared.pagination import Page, PageParams
from undercroft.shared.preconditions import check_if_match, etag_for
from undercroft.shared.tokens import TokenMode, mint_token


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRepositories:
    """Where the use cases of keys read and write."""

    keys: ApiKeyRepository
    organizations: OrganizationRepository
    events: EventRepository


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """What settings say about keys."""

    mode: TokenMode
    max_keys: int


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A key and its new secret, for the one answer that shows it."""

    key: ApiKey
    secret: str


class ApiKeyService:
    """Use cases of the keys of one owner at a time."""

    def __init__(
        self, repositories: KeyRepositories, policy: KeyPolicy, *, clock: Callable[[], datetime]
    ) -> None:
        self._keys = repositories.keys
        self._organizations = repositories.organizations
        self._events = repositories.events
        self._policy = policy
        self._clock = clock

    async def create(self, new: ApiKeyCreate, *, owner: KeyOwner) -> MintedKey:
        """Create a key; raises `UnprocessableError`, `ScopeNotHeldError` and `ApiKeyLimitError`."""
        if owner.organization_id is not None:  # the lock makes the count below exact
            await self._organizations.get_locked(owner.organization_id)
        _require_grantable(new.scopes, owner)
        _require_environment_held(new.environment, owner)
        self._require_future(new.expires_at)
        if await self._keys.count(owner=owner.organization_id) >= self._policy.max_keys:
            raise ApiKeyLimitError(f"There are {self._policy.max_keys} API keys already; revoke one first.")
        token = mint_token(self._policy.mode, new_uuid7())
        key = ApiKey(
            id=token.id,
            organization_id=owner.organization_id,
            mode=self._policy.mode,
            secret_hash=token.secret_hash,
            created_by=owner.principal.subject,
            **new.model_dump(exclude={"scopes"}, by_alias=False),
            scopes=unique(new.scopes),
        )
        await self._keys.add(key)
        await self._tell("created", key, owner)
        return MintedKey(key, token.text)

    async def get(self, key_id: UUID, *, owner: KeyOwner) -> ApiKey:
        """Return a key; raises `ApiKeyNotFoundError`."""
        return await self._keys.get(key_id, owner=owner.organization_id)

    async def list(self, page: PageParams, *, owner: KeyOwner) -> Page[ApiKey]:
        """Return a page of the owner's keys; raises `OrganizationNotFoundError`."""
        if owner.organization_id is not None:
            await self._organizations.get(owner.organization_id)
        return await self._keys.list(page, owner=owner.organization_id)

    async def update(
        self, key_id: UUID, change: ApiKeyUpdate, *, owner: KeyOwner, if_match: str | None
    ) -> ApiKey:
        """Change what the body names; raises what `create` raises, and `PreconditionFailedError`."""
        key = await self._get_locked(key_id, owner=owner, if_match=if_match)
        values = change.model_dump(include=change.model_fields_set, by_alias=False)
        if "scopes" in values:
            _require_grantable(change.scopes, owner)
            values["scopes"] = unique(change.scopes)
        if "expires_at" in values:
            self._require_future(change.expires_at)
        if any(getattr(key, name) != value for name, value in values.items()):
            for name, value in values.items():
                setattr(key, name, value)
            await self._save("updated", key, owner)
        return key

    async def rotate(
        self, key_id: UUID, how: ApiKeyRotate, *, owner: KeyOwner, if_match: str | None
    ) -> MintedKey:
        """Replace the secret; the old one works until the grace ends. An even older one ends at once.

        Raises `ScopeNotHeldError`: whoever rotates a key sees its secret, and so holds what it holds.
        """
        key = await self._get_locked(key_id, owner=owner, if_match=if_match)
        _require_held(key.scopes, owner)
        _require_environment_held(key.environment, owner)
        token = mint_token(self._policy.mode, key.id)
        now = self._clock()
        graced = how.grace_seconds > 0
        key.previous_secret_hash = key.secret_hash if graced else None
        key.previous_expires_at = now + timedelta(seconds=how.grace_seconds) if graced else None
        key.secret_hash, key.secret_created_at = token.secret_hash, now
        key.mode = self._policy.mode
        await self._save("rotated", key, owner)
        return MintedKey(key, token.text)

    async def revoke(self, key_id: UUID, *, owner: KeyOwner, if_match: str | None) -> None:
        """Delete a key; it opens nothing from the commit on."""
        key = await self._get_locked(key_id, owner=owner, if_match=if_match)
        await self._tell("revoked", key, owner)
        await self._keys.remove(key)

    async def _get_locked(self, key_id: UUID, *, owner: KeyOwner, if_match: str | None) -> ApiKey:
        key = await self._keys.get_locked(key_id, owner=owner.organization_id)
        check_if_match(if_match, etag_for(key.revision))
        return key

    async def _save(self, happening: KeyHappening, key: ApiKey, owner: KeyOwner) -> None:
        key.revision += 1
        key.updated_at = self._clock()
        await self._keys.save()
        await self._tell(happening, key, owner)

    async def _tell(self, happening: KeyHappening, key: ApiKey, owner: KeyOwner) -> None:
        read = ApiKeyRead.model_validate(key)
        await self._events.add(api_key_event(happening, read, actor=owner.principal.subject))

    def _require_future(self, expires_at: datetime | None) -> None:
        if expires_at is not None and expires_at <= self._clock():
            raise refused_member("#/expiresAt", "expiresAt must lie in the future.", "not_in_future")


def _require_grantable(scopes: Sequence[str], owner: KeyOwner) -> None:
    is_of_organization = owner.organization_id is not None
    place = first_not_for_keys(scopes, is_of_organization=is_of_organization)
    if place is not None:
        whose = "An organization's key" if is_of_organization else "A key"
        detail = f"{whose} cannot hold {scopes[place]}."
        raise refused_member(f"#/scopes/{place}", detail, "scope_not_allowed")
    _require_held(scopes, owner)


def _require_held(scopes: Collection[str], owner: KeyOwner) -> None:
    missing = unique(scope for scope in scopes if not owner.principal.has_scope(scope))
    if missing:
        raise ScopeNotHeldError(f"You do not hold {', '.join(missing)} and cannot hand it on.")


def _require_environment_held(environment: str | None, owner: KeyOwner) -> None:
    bound_to = owner.principal.environment
    if bound_to is not None and environment != bound_to:
        raise EnvironmentNotHeldError(f"You are bound to the environment {bound_to}.")
