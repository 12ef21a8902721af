"""Turns what a request presents into a principal, asking identity at most once for concurrent callers."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from undercroft.gateway.auth.credentials import Credential, Presented
from undercroft.gateway.auth.memory import CredentialMemory, Retention
from undercroft.gateway.auth.proofs import ProofChecker
from undercroft.gateway.auth.resolving import Resolver, check_organization
from undercroft.gateway.auth.tokens import MAX_TOKEN_LENGTH
from undercroft.gateway.errors import (
    AccessEndedError,
    AddressNotAllowedError,
    CredentialsExpiredError,
    CredentialsInvalidError,
    OrganizationNotFoundError,
    TokenBindingError,
)
from undercroft.shared.auth import Principal
from undercroft.shared.errors import ServiceError, UnavailableError
from undercroft.shared.events import CloudEvent
from undercroft.shared.ids import TypeId
from undercroft.shared.jose import is_compact
from undercroft.shared.tokens import parse_token

_AWAY_SECONDS: Final = 1.0
# Events whose subject is a tag of credentials: whatever happened to it, identity must be asked again.
_FOLLOWED: Final = tuple(
    f"dev.undercroft.{name}."
    for name in ("access_token", "api_key", "grant", "member", "oauth_client", "organization", "user")
)


class _Flight:
    """A question to identity that is under way, and what events told of in the meantime."""

    __slots__ = ("is_refusal_stale", "is_void", "overtaken_by", "task")

    def __init__(self, task: asyncio.Task[Credential]) -> None:
        self.task = task
        self.overtaken_by: set[str] = set()
        self.is_refusal_stale = False
        self.is_void = False


class Authenticator:
    """Remembers what identity said for `fresh_seconds`, and for `stale_seconds` while identity is away.

    The memory is this process's own, whatever limits use: the secret's hash and what it opens leave the process
    for nobody, and every replica follows identity's feed anyway.
    """

    def __init__(
        self,
        *,
        keys: Resolver,
        tokens: Resolver,
        streams: Resolver,
        proofs: ProofChecker,
        retention: Retention,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._streams = streams
        self._proofs = proofs
        self._fresh_seconds = retention.fresh_seconds
        self._stale_seconds = retention.stale_seconds
        self._clock = clock
        self._memory = CredentialMemory(retention)
        self._joinable: dict[bytes, _Flight] = {}
        self._under_way: set[_Flight] = set()
        self._away_until = 0.0

    def recall(self, presented: Presented) -> Credential | None:
        """Return a credential that was verified not long ago, or None when identity must be asked.

        Raises what identity answered moments ago, and `CredentialsInvalidError` for what it need not be asked about:
        a wrong form or checksum.
        """
        digest = presented.digest()
        found, now = self._memory.find(digest), self._clock()
        if found is not None:
            age = now - found.verified_at
            if age < self._fresh_seconds or (now < self._away_until and age < self._stale_seconds):
                return found
            return None
        refusal = self._memory.find_refusal(digest, now)
        if refusal is not None:
            raise refusal
        if not _is_well_formed(presented):
            raise CredentialsInvalidError
        return None

    async def verify(self, presented: Presented) -> Credential:
        """Ask identity about a credential, once for everybody who asks at the same time.

        While identity is away one that was verified before keeps working (for `stale_seconds`), and its callers wait
        only once a second to learn whether identity is back. Raises `CredentialsInvalidError` and
        `OrganizationNotFoundError`, or `UnavailableError` for what is not remembered while identity is away: even a
        genuine token may have been revoked.
        """
        if presented.organization is not None:
            check_organization(presented.organization)
        digest = presented.digest()
        try:
            return await self._fly(digest, presented)
        except (CredentialsInvalidError, OrganizationNotFoundError):
            raise
        except ServiceError as error:
            stale, now = self._memory.find(digest), self._clock()
            if stale is not None and now - stale.verified_at < self._stale_seconds:
                self._away_until = now + _AWAY_SECONDS
                return stale
            raise UnavailableError("Credentials cannot be checked right now.") from error

    def check(self, credential: Credential, presented: Presented, address: str) -> Principal:
        """Return the principal when the credential may be used now, from there and in this way.

        All of it is checked at every use. Possession of a key is not: see `prove`.
        """
        if credential.expires_at is not None and self._clock() >= credential.expires_at:
            raise CredentialsExpiredError
        if (credential.thumbprint is not None) is not presented.is_bound:
            raise TokenBindingError
        if credential.networks and not credential.admits(address):
            raise AddressNotAllowedError("This key may not be used from your address.")
        if presented.organization is not None and presented.is_key:
            _check_organization_of_key(credential, presented.organization)
        return credential.principal

    async def prove(self, credential: Credential, presented: Presented, *, method: str, path: str) -> None:
        """Raise `ProofInvalidError` unless the request proves possession of the key that its token is bound to."""
        await self._proofs.check(credential, presented, method=method, path=path)

    def handle_event(self, event: CloudEvent) -> None:
        """Forget what an event of identity makes stale."""
        if self.is_stale_after(event):
            self.forget(event.subject)
        elif event.type.startswith(_FOLLOWED):
            # Good answers are of later than that, and stay: forgetting them would ask identity, which may be away.
            self._overtake()

    def is_stale_after(self, event: CloudEvent) -> bool:
        """Tell whether credentials with the event's subject among their tags may be worth something else now."""
        return event.type.startswith(_FOLLOWED) and not event.type.endswith(".created")

    def forget(self, tag: str) -> None:
        """Forget every credential with a tag, also those whose answers are still on their way."""
        self._overtake(tag)
        self._memory.forget(tag)

    def _overtake(self, *tags: str) -> None:
        for flight in self._under_way:
            flight.overtaken_by.update(tags)
            flight.is_refusal_stale = True
        self._joinable.clear()

    def forget_everything(self) -> None:
        """Start afresh: events may have been missed."""
        for flight in self._under_way:
            flight.is_void = True
        self._joinable.clear()
        self._memory.clear()

    async def _fly(self, digest: bytes, presented: Presented) -> Credential:
        flight = self._joinable.get(digest)
        if flight is None:
            flight = _Flight(asyncio.create_task(_resolve(self._resolver_of(presented), presented)))
            self._joinable[digest] = flight
            self._under_way.add(flight)
            flight.task.add_done_callback(partial(self._land, digest, flight))
        return await asyncio.shield(flight.task)

    def _resolver_of(self, presented: Presented) -> Resolver:
        if presented.is_stream_token:
            return self._streams
        return self._keys if presented.is_key else self._tokens

    def _land(self, digest: bytes, flight: _Flight, task: asyncio.Task[Credential]) -> None:
        self._under_way.discard(flight)
        if self._joinable.get(digest) is flight:
            del self._joinable[digest]
        if task.cancelled():
            return
        error = task.exception()  # seen: everybody who waited may be gone
        if error is None:
            credential = task.result()
            if not flight.is_void and flight.overtaken_by.isdisjoint(credential.tags):
                self._memory.remember(digest, credential)
        elif flight.is_void or flight.is_refusal_stale:
            return
        elif isinstance(error, (AccessEndedError, OrganizationNotFoundError)):
            self._memory.refuse(digest, type(error), now=self._clock())


async def _resolve(resolver: Resolver, presented: Presented) -> Credential:
    return await resolver.resolve(presented)


def _is_well_formed(presented: Presented) -> bool:
    if presented.is_key:
        return parse_token(presented.secret) is not None
    return is_compact(presented.secret, max_length=MAX_TOKEN_LENGTH)


def _check_organization_of_key(credential: Credential, organization: str) -> None:
    """Let a key act in its own organization only; the operator's acts in all of them, whichever is named."""
    check_organization(organization)
    own = credential.principal.organization_id
    if own is not None and str(TypeId("org", own)) != organization:
        raise OrganizationNotFoundError
