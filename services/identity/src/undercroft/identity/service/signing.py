"""The keys that tokens are signed with: made, rotated, held in memory by every replica.

A replica signs with the key whose time it is, so that all change over together, without asking anybody.
"""

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, cast

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from undercroft.identity.domain.sealing import Sealer
from undercroft.identity.domain.signing_keys import ALGORITHMS, Algorithm, KeyLife, RotationPolicy
from undercroft.identity.events.signing_keys import signing_key_rotated
from undercroft.identity.models.oauth import SigningKey
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.signing_keys import SigningKeyRepository
from undercroft.shared.ids import new_uuid7
from undercroft.shared.serialization import dumps

SYSTEM_ACTOR: Final = "identity"
COMMAND_ACTOR: Final = "operator"
_RSA_BITS: Final = 2048
# The library's own; its `serialize_compact` checks a header that is ours, which takes longer than to sign with it.
_ALGORITHMS: Final = {
    algorithm: jws.JWSRegistry(algorithms=[algorithm]).get_alg(algorithm) for algorithm in ALGORITHMS
}


@dataclass(frozen=True, slots=True)
class SigningKeyRepositories:
    """Where keys are read and written, in one transaction."""

    keys: SigningKeyRepository
    events: EventRepository


OpenRepositories = Callable[[], AbstractAsyncContextManager[SigningKeyRepositories]]
MakeKey = Callable[[Algorithm], ECKey | RSAKey]


@dataclass(frozen=True, slots=True)
class RingKey:
    """A key as a replica holds it."""

    kid: str
    algorithm: Algorithm
    key: ECKey | RSAKey
    public_jwk: Mapping[str, str]
    life: KeyLife

    def sign(self, claims: Mapping[str, object], *, typ: str) -> str:
        """Return a compact JWS (RFC 7515) of the claims."""
        signed = b".".join((_header(self.algorithm, typ, self.kid), _base64url(dumps(claims))))
        signature = _ALGORITHMS[self.algorithm].sign(signed, self.key)
        return b".".join((signed, _base64url(signature))).decode("ascii")


@lru_cache(maxsize=64)
def _header(algorithm: Algorithm, typ: str, kid: str) -> bytes:
    return _base64url(dumps({"alg": algorithm, "typ": typ, "kid": kid}))


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def generate_key(algorithm: Algorithm) -> ECKey | RSAKey:
    """Make a key; an RSA key takes a tenth of a second, so never in the event loop."""
    return (
        ECKey.generate_key("P-256", auto_kid=False)
        if algorithm == "ES256"
        else RSAKey.generate_key(_RSA_BITS, auto_kid=False)
    )


class KeyRing:
    """Every published key of the database, as of the last refresh."""

    def __init__(
        self,
        open_repositories: OpenRepositories,
        sealer: Sealer,
        policy: RotationPolicy,
        *,
        clock: Callable[[], datetime],
        make_key: MakeKey,
    ) -> None:
        self._open = open_repositories
        self._sealer = sealer
        self._policy = policy
        self._clock = clock
        self._make_key = make_key
        self._keys: dict[str, RingKey] = {}
        self._lock = asyncio.Lock()

    async def signing_key(self, algorithm: Algorithm) -> RingKey:
        """Return the key whose time it is to sign; raises `UnavailableError` before any could be read."""
        return self._signing_now(algorithm) or await self._read_signing_key(algorithm)

    async def find(self, kid: str) -> RingKey | None:
        """Return a published key by its `kid`, None when there is none."""
        await self._load()
        return self._keys.get(kid)

    async def published_jwks(self) -> list[Mapping[str, str]]:
        """Return the public halves of every published key (RFC 7517), the newest first."""
        await self._load()
        now = self._clock()
        shown = [key for key in self._keys.values() if key.life.published_until > now]
        return [key.public_jwk for key in reversed(shown)]

    async def refresh(self) -> None:
        """Take over what the database holds, making what is missing or due."""
        async with self._lock:
            await self._read()

    async def _load(self) -> None:
        if self._keys:
            return
        async with self._lock:
            if not self._keys:  # of many who come at once, the first reads for all
                await self._read()

    async def _read(self) -> None:
        now = self._clock()
        async with self._open() as repositories:
            rows = await repositories.keys.list_published(now)
            if self._due(rows, now):
                rows = await self._make_due(repositories, now)
        self._hold(rows)

    async def rotate(self, *, actor: str) -> Sequence[RingKey]:
        """Publish a new key for each algorithm, which takes over once verifiers can know it."""
        async with self._lock:
            now = self._clock()
            async with self._open() as repositories:
                await repositories.keys.lock()
                rows = await repositories.keys.list_published(now)
                for algorithm in ALGORITHMS:
                    held = _of(algorithm, rows)
                    life = self._policy.replacement(now) if held else self._policy.first(now)
                    self._hand_over(held, life, now)
                    await self._add(repositories, algorithm, life, actor=actor)
                rows = await repositories.keys.list_published(now)
            self._hold(rows)
            return self.held()

    def held(self) -> Sequence[RingKey]:
        """Return what is held, the first to sign first."""
        return tuple(self._keys.values())

    def _signing_now(self, algorithm: Algorithm) -> RingKey | None:
        now = self._clock()
        signing: RingKey | None = None
        for key in self._keys.values():
            if key.algorithm == algorithm and key.life.signs_from <= now < key.life.signs_until:
                signing = key  # they are in order: the last is the newest
        return signing

    async def _read_signing_key(self, algorithm: Algorithm) -> RingKey:
        async with self._lock:
            key = self._signing_now(algorithm)
            if key is None:  # of many who come at once, the first reads for all
                await self._read()
                key = self._signing_now(algorithm)
        if key is None:  # pragma: no cover  a refresh makes what is missing
            raise LookupError(f"no key signs {algorithm}")
        return key

    def _due(self, rows: Sequence[SigningKey], now: datetime) -> bool:
        by_algorithm = [_of(algorithm, rows) for algorithm in ALGORITHMS]
        return any(not each or self._policy.is_due(now, _life(each[-1])) for each in by_algorithm)

    async def _make_due(self, repositories: SigningKeyRepositories, now: datetime) -> Sequence[SigningKey]:
        await repositories.keys.lock()
        # Read again under the lock: another replica may have made them meanwhile.
        rows = await repositories.keys.list_published(now)
        for algorithm in ALGORITHMS:
            held = _of(algorithm, rows)
            if not held:
                await self._add(repositories, algorithm, self._policy.first(now))
            elif self._policy.is_due(now, _life(held[-1])):
                life = self._policy.next(now, _life(held[-1]))
                self._hand_over(held, life, now)
                await self._add(repositories, algorithm, life)
        return await repositories.keys.list_published(now)

    def _hand_over(self, held: Sequence[SigningKey], successor: KeyLife, now: datetime) -> None:
        """Let the keys in use sign until their successor does: no longer, and the newest of them no shorter."""
        in_use = [row for row in held if row.signs_from <= now]
        for row in in_use:
            if row.signs_until > successor.signs_from or row is in_use[-1]:
                _set_life(row, self._policy.until(_life(row), successor.signs_from))

    async def _add(
        self,
        repositories: SigningKeyRepositories,
        algorithm: Algorithm,
        life: KeyLife,
        *,
        actor: str = SYSTEM_ACTOR,
    ) -> None:
        key = await asyncio.to_thread(self._make_key, algorithm)
        kid = key.thumbprint()
        row = SigningKey(
            id=new_uuid7(),
            kid=kid,
            algorithm=algorithm,
            public_jwk={**key.as_dict(private=False), "use": "sig", "alg": algorithm, "kid": kid},
            private_key=b"",
        )
        row.private_key = self._sealer.seal(key.as_der(private=True), place=row.id.bytes)
        _set_life(row, life)
        await repositories.keys.add(row)
        event = signing_key_rotated(kid, algorithm=algorithm, signs_from=life.signs_from, actor=actor)
        await repositories.events.add(event)

    def _hold(self, rows: Sequence[SigningKey]) -> None:
        self._keys = {row.kid: self._open_row(row) for row in rows}

    def _open_row(self, row: SigningKey) -> RingKey:
        algorithm = cast("Algorithm", row.algorithm)
        held = self._keys.get(row.kid)
        return RingKey(
            kid=row.kid,
            algorithm=algorithm,
            key=held.key if held is not None else self._import(row, algorithm),
            public_jwk=row.public_jwk,
            life=_life(row),
        )

    def _import(self, row: SigningKey, algorithm: Algorithm) -> ECKey | RSAKey:
        kind = ECKey if algorithm == "ES256" else RSAKey
        return kind.import_key(self._sealer.open(row.private_key, place=row.id.bytes))


def _of(algorithm: Algorithm, rows: Sequence[SigningKey]) -> list[SigningKey]:
    return [row for row in rows if row.algorithm == algorithm]


def _life(row: SigningKey) -> KeyLife:
    return KeyLife(row.signs_from, row.signs_until, row.published_until)


def _set_life(row: SigningKey, life: KeyLife) -> None:
    row.signs_from, row.signs_until, row.published_until = (
        life.signs_from,
        life.signs_until,
        life.published_until,
    )
