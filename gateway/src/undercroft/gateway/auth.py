"""Who is calling: API keys verified once by identity, remembered, and forgotten the moment they change."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, Literal, Protocol

from cashews import Cache
from pydantic import Field

from undercroft.gateway.errors import AddressNotAllowedError, CredentialsInvalidError
from undercroft.shared.auth import Principal
from undercroft.shared.cache import KeySpace
from undercroft.shared.errors import NotFoundError, ServiceError, UnavailableError
from undercroft.shared.events import CloudEvent
from undercroft.shared.http_client import CallOptions, ServiceClient
from undercroft.shared.ids import TypeId
from undercroft.shared.serialization import Timestamp, WireModel
from undercroft.shared.tokens import hash_token, parse_token

UNKNOWN_KEY_CODE: Final = "api_key_invalid"

_UNKNOWN_SECONDS = 5
_AWAY_SECONDS = 1.0
_MOST_RECENT = 10_000
_KEY_EVENTS = "dev.undercroft.api_key."
_ORGANIZATION_EVENTS = "dev.undercroft.organization."


class VerifiedKey(WireModel):
    """Identity's answer about a key."""

    key_id: str
    organization_id: str | None
    scopes: frozenset[str]
    environment: str | None
    expires_at: Timestamp | None
    kind: Literal["api_key", "operator"]
    plan: str | None = None
    allowed_cidrs: tuple[str, ...] = Field(default=())


@dataclass(frozen=True, slots=True)
class Credential:
    """A verified key, ready for use: checked at every use for expiry and address."""

    principal: Principal
    verified_at: float
    expires_at: float | None
    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def from_answer(cls, answer: VerifiedKey, *, now: float) -> "Credential":
        """Convert identity's answer; raises `ValueError` for identifiers or networks that are none."""
        organization = answer.organization_id
        principal = Principal(
            subject=str(TypeId.parse(answer.key_id, expect="key")),
            kind=answer.kind,
            organization_id=TypeId.parse(organization, expect="org").uuid if organization else None,
            scopes=answer.scopes,
            environment=answer.environment,
            plan=answer.plan,
        )
        return cls(
            principal=principal,
            verified_at=now,
            expires_at=answer.expires_at.timestamp() if answer.expires_at else None,
            networks=tuple(ip_network(each) for each in answer.allowed_cidrs),
        )

    def admits(self, address: str) -> bool:
        """Tell whether the key may be used from an address."""
        if not self.networks:
            return True
        try:
            peer = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(peer, "ipv4_mapped", None)
        return any((mapped or peer) in network for network in self.networks)


class KeyVerifier(Protocol):
    """Asks whether a key is good."""

    async def verify(self, secret: str) -> VerifiedKey | None:
        """Return the key's properties, or None for one that is unknown, expired or revoked."""


class IdentityClient:
    """Asks identity, for at most `wait_seconds`."""

    def __init__(self, client: ServiceClient, *, wait_seconds: float) -> None:
        self._client = client
        self._options = CallOptions(is_idempotent=True, retries=1, read_seconds=wait_seconds)

    async def verify(self, secret: str) -> VerifiedKey | None:
        """Verify a key; raises the client's errors."""
        try:
            return await self._client.post(
                "/internal/api-keys/verify",
                VerifiedKey,
                body={"secret": secret},
                options=self._options,
            )
        except NotFoundError as error:
            if error.code == UNKNOWN_KEY_CODE:
                return None
            raise


class Authenticator:
    """Turns a key into a principal, asking identity at most once for concurrent callers.

    The memory is this process's own, whatever limits use: the secret's hash and what it opens leave the process
    for nobody, and every replica follows identity's feed anyway.
    """

    def __init__(
        self,
        verifier: KeyVerifier,
        cache: Cache,
        *,
        fresh_seconds: float,
        stale_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._verifier = verifier
        self._cache = cache
        self._fresh_seconds = fresh_seconds
        self._stale_seconds = max(stale_seconds, fresh_seconds)
        self._clock = clock
        self._keys = KeySpace("gateway")
        # In front of Cashews, whose every read passes five layers. Emptied by every event, so it needs no tags.
        self._recent: dict[bytes, Credential] = {}
        self._flights: dict[str, asyncio.Task[Credential | None]] = {}
        self._epoch = 0
        self._away_until = 0.0

    async def recall(self, secret: str) -> Credential | None:
        """Return the credential of a key that was verified not long ago, or None when identity must be asked.

        Raises `CredentialsInvalidError` for what identity need not be asked about: a wrong form or checksum, or a
        key that it has just refused.
        """
        digest = hash_token(secret)
        recent = self._recent.get(digest)
        if recent is not None and self._clock() - recent.verified_at < self._fresh_seconds:
            return recent
        found: Credential | Literal[False] | None = await self._cache.get(self._entry(digest))
        if found is False or (found is None and parse_token(secret) is None):
            raise CredentialsInvalidError
        if found is None:
            return None
        now = self._clock()
        if now - found.verified_at >= self._fresh_seconds:
            return found if now < self._away_until else None
        if len(self._recent) >= _MOST_RECENT:
            self._recent.clear()
        self._recent[digest] = found
        return found

    async def verify(self, secret: str) -> Credential:
        """Ask identity about a key, once for everybody who asks at the same time.

        While identity is away a key that was verified before keeps working (for `stale_seconds`), and its
        callers wait only once a second to learn whether identity is back. Raises `CredentialsInvalidError`, or
        `UnavailableError` for an unknown key while identity is away.
        """
        entry = self._entry(hash_token(secret))
        try:
            credential = await self._fly(entry, secret)
        except ServiceError as error:
            stale: Credential | Literal[False] | None = await self._cache.get(entry)
            if stale:
                self._away_until = self._clock() + _AWAY_SECONDS
                return stale
            raise UnavailableError("Credentials cannot be checked right now.") from error
        if credential is None:
            raise CredentialsInvalidError
        return credential

    def check(self, credential: Credential, address: str) -> Principal:
        """Return the principal when the key may be used now and from there; expiry is checked at every use."""
        if credential.expires_at is not None and self._clock() >= credential.expires_at:
            raise CredentialsInvalidError
        if not credential.admits(address):
            raise AddressNotAllowedError("This key may not be used from your address.")
        return credential.principal

    async def handle_event(self, event: CloudEvent) -> None:
        """Forget what an event of identity makes stale."""
        if event.type.endswith(".created"):
            # What is known of it was asked since: forgetting it here would ask identity again, which may be away.
            self._begin_epoch()
        elif event.type.startswith(_KEY_EVENTS):
            await self._forget(self._keys.key("key", event.subject))
        elif event.type.startswith(_ORGANIZATION_EVENTS):
            await self._forget(self._keys.key("org", event.subject))

    async def forget_everything(self) -> None:
        """Start afresh: events may have been missed."""
        self._begin_epoch()
        await self._cache.clear()
        self._recent.clear()

    async def _forget(self, tag: str) -> None:
        self._begin_epoch()
        await self._cache.delete_tags(tag)
        self._recent.clear()  # whoever recalled while the tag was being deleted

    def _begin_epoch(self) -> None:
        """Forget what is at hand, and keep answers that are on their way out of the memory: they may be older."""
        self._epoch += 1
        self._recent.clear()
        self._flights.clear()

    async def _fly(self, entry: str, secret: str) -> Credential | None:
        flight = self._flights.get(entry)
        if flight is None:
            flight = asyncio.create_task(self._ask(entry, secret))
            self._flights[entry] = flight
            flight.add_done_callback(lambda done: self._land(entry, done))
        return await asyncio.shield(flight)

    def _land(self, entry: str, flight: asyncio.Task[Credential | None]) -> None:
        if self._flights.get(entry) is flight:
            del self._flights[entry]
        if not flight.cancelled():
            flight.exception()  # seen: everybody who waited may be gone

    async def _ask(self, entry: str, secret: str) -> Credential | None:
        epoch = self._epoch
        answer = await self._verifier.verify(secret)
        if answer is None:
            await self._remember(entry, None, epoch)
            return None
        try:
            credential = Credential.from_answer(answer, now=self._clock())
        except ValueError as error:
            raise UnavailableError("Identity answered what it should not.") from error
        await self._remember(entry, credential, epoch)
        return credential

    async def _remember(self, entry: str, credential: Credential | None, epoch: int) -> None:
        if epoch != self._epoch:
            return
        if credential is None:
            await self._cache.set(entry, False, expire=_UNKNOWN_SECONDS)  # noqa: FBT003  "known to be wrong"
            return
        principal = credential.principal
        tags = [self._keys.key("key", principal.subject)]
        if principal.organization_id is not None:
            tags.append(self._keys.key("org", str(TypeId("org", principal.organization_id))))
        await self._cache.set(entry, credential, expire=self._stale_seconds, tags=tags)
        if epoch != self._epoch:  # the event passed between the two lines above
            await self._cache.delete(entry)

    def _entry(self, digest: bytes) -> str:
        return self._keys.key("credential", digest.hex())
