"""The key that opens a new installation: made at first start, or brought along by settings."""

from collections.abc import Callable
from datetime import datetime

from undercroft.identity.events.api_keys import KeyHappening, api_key_event
from undercroft.identity.models.api_keys import ApiKey
from undercroft.identity.repository.api_keys import ApiKeyRepository
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.schemas.api_keys import ApiKeyRead
from undercroft.shared.auth import OPERATOR_SCOPE
from undercroft.shared.ids import new_uuid7
from undercroft.shared.tokens import Token, TokenMode, hash_token, mint_token, parse_token

SYSTEM_ACTOR = "system"


class OperatorKeyService:
    """Use cases that run before anybody can authenticate, on behalf of whoever starts the platform."""

    def __init__(
        self, keys: ApiKeyRepository, events: EventRepository, *, clock: Callable[[], datetime]
    ) -> None:
        self._keys = keys
        self._events = events
        self._clock = clock

    async def ensure(self, mode: TokenMode) -> str | None:
        """Make an operator key when there is none and return its secret, the only time that it is known."""
        await self._keys.lock_operator_keys()
        if await self._keys.has_operator_key():
            return None
        return await self.create(mode, name="Operator key of the first start")

    async def create(self, mode: TokenMode, *, name: str) -> str:
        """Make one more operator key and return its secret."""
        token = mint_token(mode, new_uuid7())
        await self._add(mode, token, name=name)
        return token.text

    async def register(self, secret: str) -> bool:
        """Make a secret that was agreed on beforehand an operator key; False when it is one already.

        A key of the same identifier takes this secret and loses every other. Raises `ValueError` for a secret
        that is not well-formed.
        """
        await self._keys.lock_operator_keys()
        parsed = parse_token(secret)
        if parsed is None:
            raise ValueError("the operator key is not well-formed")
        token = Token(text=secret, id=parsed.id, secret_hash=hash_token(secret))
        key = await self._keys.find_locked(token.id)
        if key is None:
            await self._add(parsed.mode, token, name="Operator key from settings")
            return True
        if key.secret_hash == token.secret_hash and key.previous_secret_hash is None:
            return False
        if key.secret_hash != token.secret_hash:
            key.secret_hash, key.secret_created_at = token.secret_hash, self._clock()
        key.previous_secret_hash = key.previous_expires_at = None
        key.revision += 1
        key.updated_at = self._clock()
        await self._keys.save()
        await self._tell("rotated", key)
        return True

    async def _add(self, mode: TokenMode, token: Token, *, name: str) -> None:
        key = ApiKey(
            id=token.id,
            mode=mode,
            name=name,
            scopes=[OPERATOR_SCOPE],
            secret_hash=token.secret_hash,
            created_by=SYSTEM_ACTOR,
        )
        await self._keys.add(key)
        await self._tell("created", key)

    async def _tell(self, happening: KeyHappening, key: ApiKey) -> None:
        await self._events.add(api_key_event(happening, ApiKeyRead.model_validate(key), actor=SYSTEM_ACTOR))
