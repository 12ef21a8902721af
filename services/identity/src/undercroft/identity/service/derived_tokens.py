"""Short-lived tokens derived from API keys: they open less, for at most an hour, and end with their key."""

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

from undercroft.identity.domain.api_keys import KeyOwner, unique
from undercroft.identity.domain.oauth.scopes import join
from undercroft.identity.domain.oauth.tokens import (
    ACCESS_TOKEN_TYPE,
    AccessTokenSubject,
    TokenPair,
    TokenPolicy,
    access_claims,
)
from undercroft.identity.domain.signing_keys import ACCESS_ALGORITHM
from undercroft.identity.errors.api_keys import ScopeNotHeldError
from undercroft.identity.errors.payload import refused_member
from undercroft.identity.repository.api_keys import ApiKeyRepository
from undercroft.identity.schemas.api_keys import DerivedTokenCreate
from undercroft.identity.service.signing import KeyRing
from undercroft.shared.auth import Scope
from undercroft.shared.ids import TypeId

# Whoever holds one of these could derive the next token before this one ends.
_NEVER_DERIVED: Final = frozenset({Scope.IDENTITY_API_KEYS, Scope.IDENTITY_WRITE, Scope.OPERATOR})


class DerivedTokenService:
    """The use case of deriving a token."""

    def __init__(
        self, keys: ApiKeyRepository, ring: KeyRing, policy: TokenPolicy, *, clock: Callable[[], datetime]
    ) -> None:
        self._keys = keys
        self._ring = ring
        self._policy = policy
        self._clock = clock

    async def derive(self, key_id: UUID, new: DerivedTokenCreate, *, owner: KeyOwner) -> TokenPair:
        """Return a token of a key.

        Raises `ApiKeyNotFoundError`, `ScopeNotHeldError`, and `UnprocessableError` for scopes that the key does not
        hold or that no token is derived with, and for a key that has expired.
        """
        key = await self._keys.get(key_id, owner=owner.organization_id)
        for place, scope in enumerate(new.scopes):
            if scope not in key.scopes or scope in _NEVER_DERIVED:
                detail = f"A token of this key cannot hold {scope}."
                raise refused_member(f"#/scopes/{place}", detail, "scope_not_allowed")
        missing = unique(scope for scope in new.scopes if not owner.principal.has_scope(scope))
        if missing:
            raise ScopeNotHeldError(f"You do not hold {', '.join(missing)} and cannot hand it on.")
        now = self._clock()
        seconds = new.expires_in_seconds
        if key.expires_at is not None:
            seconds = min(seconds, int((key.expires_at - now).total_seconds()))
        if seconds <= 0:
            raise refused_member("#/expiresInSeconds", "The key has expired.", "not_in_future")
        scopes = [str(scope) for scope in new.scopes]
        further: dict[str, object] = {}
        if key.organization_id is not None:
            further["org"] = str(TypeId("org", key.organization_id))
        if key.environment is not None:
            further["env"] = key.environment
        subject = str(TypeId("key", key.id))
        claims = access_claims(
            AccessTokenSubject(
                subject=subject,
                client_id=subject,
                audience=[self._policy.issuer],
                scopes=scopes,
                further=further,
            ),
            self._policy,
            now,
            seconds=seconds,
        )
        signing_key = await self._ring.signing_key(ACCESS_ALGORITHM)
        return TokenPair(signing_key.sign(claims, typ=ACCESS_TOKEN_TYPE), seconds, join(scopes))
