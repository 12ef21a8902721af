"""Pure rules of signing keys: when each is published, when it signs, when the next one is due."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

Algorithm: TypeAlias = Literal["ES256", "RS256"]

ACCESS_ALGORITHM: Final[Algorithm] = "ES256"
ALGORITHMS: Final[tuple[Algorithm, ...]] = ("ES256", "RS256")


@dataclass(frozen=True, slots=True)
class KeyLife:
    """A key's times: published at once, it signs from `signs_from` until `signs_until`."""

    signs_from: datetime
    signs_until: datetime
    published_until: datetime


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """How long keys sign and how long verifiers are given.

    `overlap` is how long a new key is published before it signs: verifiers that read the key set again only every five
    minutes, through a cache that keeps it for as long, know it by then. `retention` is the longest life of a token.
    """

    period: timedelta
    overlap: timedelta
    retention: timedelta

    def first(self, now: datetime) -> KeyLife:
        """Return the life of a key that has no predecessor: nobody knows another, so it signs at once."""
        return self._from(now)

    def next(self, now: datetime, newest: KeyLife) -> KeyLife:
        """Return the life of the key that follows the newest, by schedule."""
        return self._from(max(newest.signs_until, now + self.overlap))

    def replacement(self, now: datetime) -> KeyLife:
        """Return the life of a key that takes over as soon as verifiers can know it."""
        return self._from(now + self.overlap)

    def is_due(self, now: datetime, newest: KeyLife) -> bool:
        """Tell whether the newest key's successor has to be published by now."""
        return newest.signs_until - 2 * self.overlap <= now

    def until(self, life: KeyLife, moment: datetime) -> KeyLife:
        """Return a life that signs exactly until a moment, for a key whose successor takes over then."""
        return KeyLife(life.signs_from, moment, moment + self.retention)

    def _from(self, moment: datetime) -> KeyLife:
        end = moment + self.period
        return KeyLife(moment, end, end + self.retention)
