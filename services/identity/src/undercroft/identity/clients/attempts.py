"""Attempts counted with Cashews: in Redis for all replicas, in this process's memory while Redis is away."""

import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from cashews import Cache

from undercroft.identity.domain.attempts import AttemptLimit
from undercroft.identity.errors.accounts import TooManyAttemptsError
from undercroft.shared.cache import CacheUnavailableError, KeySpace, count

ResultT = TypeVar("ResultT")

_KEYS: Final = KeySpace("identity")


class CachedAttempts:
    """Counts in `shared`; `own` takes over for as long as it does not answer."""

    def __init__(self, shared: Cache, own: Cache, *, clock: Callable[[], float] = time.time) -> None:
        self._shared = shared
        self._own = own
        self._clock = clock

    async def begin(self, limit: AttemptLimit, subject: str) -> None:
        """Count one attempt; raises `TooManyAttemptsError` when it comes too early.

        An attempt that is refused is not counted: whoever hammers does not make the owner wait longer. Beyond the
        free ones only he who can set the mark of the wait goes on, so that simultaneous guesses are one guess.
        """
        early = await self._with(lambda cache: self._begin(cache, limit, subject))
        if early is not None:
            raise TooManyAttemptsError(
                "Too many attempts. Wait a little, then try again.", retry_after_seconds=early
            )

    async def forgive(self, limit: AttemptLimit, subject: str) -> None:
        """Take back the last attempt: it was a good one."""
        await self._with(lambda cache: self._forgive(cache, limit, subject))

    async def forget(self, limit: AttemptLimit, subject: str) -> None:
        """Begin anew."""

        async def forget(cache: Cache) -> None:
            await cache.delete(_key("attempts", limit, subject))
            await cache.delete(_key("wait", limit, subject))

        await self._with(forget)

    async def use_once(self, name: str, secret: str, *, life_seconds: float) -> bool:
        """Remember a use for a while; False when it was used before."""
        key = _KEYS.key("used", name, _digest(secret))
        return await self._with(lambda cache: cache.set(key, 1, expire=life_seconds, exist=False))

    async def _begin(self, cache: Cache, limit: AttemptLimit, subject: str) -> int | None:
        wait_key = _key("wait", limit, subject)
        waiting = await self._seconds_left(cache, wait_key)
        if waiting is not None:
            return waiting
        attempts = await count(cache, _key("attempts", limit, subject), 1, life_seconds=limit.window_seconds)
        wait = limit.wait_seconds(attempts)
        if wait == 0:
            return None
        if await cache.set(wait_key, self._clock() + wait, expire=wait, exist=False):
            return None
        return await self._seconds_left(cache, wait_key) or 1

    async def _forgive(self, cache: Cache, limit: AttemptLimit, subject: str) -> None:
        key = _key("attempts", limit, subject)
        if await cache.get(key):
            await cache.incr(key, -1)
            await cache.delete(_key("wait", limit, subject))

    async def _seconds_left(self, cache: Cache, wait_key: str) -> int | None:
        until: object = await cache.get(wait_key)
        if not isinstance(until, int | float) or until <= self._clock():
            return None
        return int(until - self._clock()) + 1

    async def _with(self, work: Callable[[Cache], Awaitable[ResultT]]) -> ResultT:
        try:
            return await work(self._shared)
        except CacheUnavailableError:
            return await work(self._own)


def _key(kind: str, limit: AttemptLimit, subject: str) -> str:
    return _KEYS.key(kind, limit.name, _digest(subject))


def _digest(text: str) -> str:
    # Addresses of people have no business in a cache, and keys stay short.
    return hashlib.sha256(text.encode()).hexdigest()[:32]
