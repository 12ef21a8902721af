"""Rate limits: fixed windows counted in Cashews, with local leases in front so that most requests ask nobody.

A lease is a batch of requests that was counted in advance for one caller; across replicas the total can never
exceed the limit. When the shared cache is away, a class that fails open is counted in this process instead, and one
that fails closed refuses; neither is ever a 5xx.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from cashews import Cache

from undercroft.gateway.routes_table import LimitPolicy
from undercroft.shared.cache import CacheUnavailableError, KeySpace, count

_LEASE_SHARE = 20
_LARGEST_LEASE = 200


class Verdict(NamedTuple):
    """Whether a request may pass, and what to tell the caller about the window."""

    is_admitted: bool
    policy: LimitPolicy
    remaining: int
    reset_seconds: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers)."""
        policy = self.policy
        return [
            (
                b"ratelimit-policy",
                b'"%b";q=%d;w=%d' % (policy.name.encode(), policy.requests, policy.window_seconds),
            ),
            (
                b"ratelimit",
                b'"%b";r=%d;t=%d' % (policy.name.encode(), self.remaining, self.reset_seconds),
            ),
        ]


class _Lease:
    """What this process may still admit for one caller in one window."""

    __slots__ = ("counted", "granted", "lock", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.granted = 0
        self.counted = 0
        self.lock: asyncio.Lock | None = None


class Limiter:
    """Admits requests by policy and subject (a key's id or an address)."""

    def __init__(
        self,
        shared: Cache,
        local: Cache,
        *,
        subjects: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._shared = shared
        self._local = local
        self._subjects = subjects
        self._clock = clock
        self._keys = KeySpace("gateway")
        self._leases: dict[tuple[str, str], _Lease] = {}

    async def admit(self, policy: LimitPolicy, subject: str) -> Verdict:
        """Count one request and say whether it may pass."""
        now = self._clock()
        window = int(now) // policy.window_seconds
        lease = self._lease(policy, subject, window)
        if lease.granted == 0 and lease.counted < policy.requests:
            await self._extend(lease, policy, subject)
        reset = (window + 1) * policy.window_seconds - now
        if lease.granted == 0:
            return Verdict(False, policy, 0, max(1, math.ceil(reset)))  # noqa: FBT003  a field, not a flag
        lease.granted -= 1
        remaining = max(0, policy.requests - lease.counted) + lease.granted
        return Verdict(True, policy, remaining, math.ceil(reset))  # noqa: FBT003  a field, not a flag

    def is_exhausted(self, policy: LimitPolicy, subject: str) -> bool:
        """Tell whether nothing more would be admitted, without counting."""
        window = int(self._clock()) // policy.window_seconds
        lease = self._leases.get((policy.name, subject))
        return (
            lease is not None
            and lease.window == window
            and lease.granted == 0
            and lease.counted >= policy.requests
        )

    def seconds_to_reset(self, policy: LimitPolicy) -> int:
        """Return how long the current window of a policy still lasts."""
        return policy.window_seconds - int(self._clock()) % policy.window_seconds

    def _lease(self, policy: LimitPolicy, subject: str, window: int) -> _Lease:
        key = (policy.name, subject)
        lease = self._leases.get(key)
        if lease is None or lease.window != window:
            if lease is None and len(self._leases) >= self._subjects:
                self._leases.pop(next(iter(self._leases)))
            lease = self._leases[key] = _Lease(window)
        return lease

    async def _extend(self, lease: _Lease, policy: LimitPolicy, subject: str) -> None:
        if lease.lock is None:
            lease.lock = asyncio.Lock()
        async with lease.lock:
            if lease.granted or lease.counted >= policy.requests:
                return  # somebody else extended it while this request waited
            batch = max(1, min(_LARGEST_LEASE, policy.requests // _LEASE_SHARE))
            key = self._keys.key("limit", policy.name, subject, str(lease.window))
            try:
                total = await count(self._shared, key, batch, life_seconds=policy.window_seconds * 2)
            except CacheUnavailableError:
                if policy.on_failure == "closed":
                    return
                total = await count(self._local, key, batch, life_seconds=policy.window_seconds * 2)
            lease.granted = max(0, min(batch, policy.requests - (total - batch)))
            lease.counted = total
