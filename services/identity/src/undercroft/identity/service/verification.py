"""Telling what a presented secret opens. It reads one row and writes nothing."""

import hmac
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

from undercroft.identity.domain.api_keys import earliest, key_kind
from undercroft.identity.errors.api_keys import ApiKeyInvalidError
from undercroft.identity.repository.api_keys import StoredKey, StoredKeys
from undercroft.identity.schemas.api_keys import VerifiedKey
from undercroft.shared.tokens import hash_token, parse_token

_MAX_REMEMBERED = 100_000


class LastUses:
    """When keys were last used, remembered until somebody writes it down in one statement."""

    def __init__(self) -> None:
        self._moments: dict[UUID, datetime] = {}

    def note(self, key_id: UUID, moment: datetime) -> None:
        """Remember a use; while the database is away, only so many keys are remembered."""
        if key_id in self._moments or len(self._moments) < _MAX_REMEMBERED:
            self._moments[key_id] = moment

    def take(self) -> dict[UUID, datetime]:
        """Hand over what is remembered and forget it."""
        taken, self._moments = self._moments, {}
        return taken

    def put_back(self, taken: Mapping[UUID, datetime]) -> None:
        """Remember again what could not be written, unless a later use is known."""
        self._moments = {**taken, **self._moments}


class VerificationService:
    """The use case behind `POST /internal/api-keys/verify`."""

    def __init__(self, keys: StoredKeys, last_uses: LastUses, *, clock: Callable[[], datetime]) -> None:
        self._keys = keys
        self._last_uses = last_uses
        self._clock = clock

    async def verify(self, secret: str) -> VerifiedKey:
        """Return what a secret opens; raises `ApiKeyInvalidError` when it opens nothing, never saying why."""
        parsed = parse_token(secret)
        stored = await self._keys.find_stored(parsed.id) if parsed is not None else None
        now = self._clock()
        match = None if stored is None else _match(stored, hash_token(secret), now)
        if stored is None or match is None:
            raise ApiKeyInvalidError("The API key is unknown, expired or revoked.")
        self._last_uses.note(stored.id, now)
        return VerifiedKey(
            key_id=stored.id,
            kind=key_kind(stored.scopes),
            organization_id=stored.organization_id,
            scopes=stored.scopes,
            environment=stored.environment,
            # A secret in its grace ends with the grace: whoever remembers the answer must forget it then.
            expires_at=earliest(
                stored.expires_at, stored.previous_expires_at if match == "previous" else None
            ),
            allowed_cidrs=stored.allowed_cidrs,
        )


def _match(key: StoredKey, secret_hash: bytes, now: datetime) -> Literal["current", "previous"] | None:
    """Tell which of a key's secrets this is, if it may still be used."""
    if key.expires_at is not None and key.expires_at <= now:
        return None
    if hmac.compare_digest(key.secret_hash, secret_hash):
        return "current"
    if key.previous_secret_hash is None or key.previous_expires_at is None or key.previous_expires_at <= now:
        return None
    return "previous" if hmac.compare_digest(key.previous_secret_hash, secret_hash) else None
