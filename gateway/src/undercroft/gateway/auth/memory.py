"""The memory of verified credentials: this process's own, bounded, and exact about what an event makes stale.

Not Cashews: its tags are evicted and expire apart from what they stand for, and a forgotten tag is a revocation
that is missed.
"""

from dataclasses import dataclass
from typing import Final

from undercroft.gateway.auth.credentials import Credential
from undercroft.shared.errors import ServiceError

_REFUSED_SECONDS: Final = 5.0
_MOST_REFUSED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How many credentials are remembered, how long identity is not asked again, and how long not while it is away."""

    size: int
    fresh_seconds: float
    stale_seconds: float


class CredentialMemory:
    """Credentials by digest, and by every tag; the oldest go when there are too many, or when they are stale."""

    def __init__(self, retention: Retention) -> None:
        self._size = retention.size
        self._stale_seconds = max(retention.stale_seconds, retention.fresh_seconds)
        self._credentials: dict[bytes, Credential] = {}
        self._tagged: dict[str, set[bytes]] = {}
        # Apart from the others, so that a flood of wrong credentials pushes out no good ones.
        self._refused: dict[bytes, tuple[float, type[ServiceError]]] = {}

    def find(self, digest: bytes) -> Credential | None:
        """Return what is remembered, however old."""
        return self._credentials.get(digest)

    def find_refusal(self, digest: bytes, now: float) -> type[ServiceError] | None:
        """Return how identity refused this moments ago."""
        until, refusal = self._refused.get(digest, (0.0, None))
        return refusal if now < until else None

    def remember(self, digest: bytes, credential: Credential) -> None:
        """Remember a credential as the youngest."""
        self._drop(digest)
        self._make_room(credential.verified_at)
        self._credentials[digest] = credential
        for tag in credential.tags:
            self._tagged.setdefault(tag, set()).add(digest)

    def refuse(self, digest: bytes, refusal: type[ServiceError], *, now: float) -> None:
        """Remember for moments that identity refused this."""
        self._drop(digest)
        if len(self._refused) >= _MOST_REFUSED:
            self._refused.clear()
        self._refused[digest] = (now + _REFUSED_SECONDS, refusal)

    def forget(self, tag: str) -> None:
        """Forget every credential with a tag, and every refusal: it may be right no longer."""
        self._refused.clear()
        for digest in tuple(self._tagged.get(tag, ())):
            self._drop(digest)

    def clear(self) -> None:
        """Forget everything."""
        self._refused.clear()
        self._credentials.clear()
        self._tagged.clear()

    def _make_room(self, now: float) -> None:
        while self._credentials:
            oldest = next(iter(self._credentials))
            is_stale = now - self._credentials[oldest].verified_at >= self._stale_seconds
            if not is_stale and len(self._credentials) < self._size:
                return
            self._drop(oldest)

    def _drop(self, digest: bytes) -> None:
        credential = self._credentials.pop(digest, None)
        if credential is None:
            return
        for tag in credential.tags:
            tagged = self._tagged[tag]
            tagged.discard(digest)
            if not tagged:
                del self._tagged[tag]
