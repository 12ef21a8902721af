"""Cashews, set up on purpose: bounded memory or Redis, failures that are typed, keys and tags by template.

Traps this module answers (Cashews 7.6): `suppress=True` makes a failed `incr` return None, which a limiter reads
as "allowed"; the memory backend holds 1,000 keys and copies its whole store every second; tags live in the same
store as values and are evicted with them; `incr` by more than one never sets a life.
"""

import time
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from cashews import Cache
from cashews.backends.interface import Backend
from cashews.commands import Command
from cashews.exceptions import CacheError
from pydantic import SecretStr
from redis.exceptions import RedisError

from undercroft.shared.logs import get_logger

DEFAULT_MEMORY_SIZE: Final = 10_000

_EXPIRY_SWEEP_SECONDS = 60
_REDIS_TIMEOUT_SECONDS = 0.5
_REDIS_CONNECTIONS = 16
_RETRY_AFTER_SECONDS = 2.0
_TAGS_PER_VALUE = 4

_logger = get_logger(__name__)


class CacheUnavailableError(Exception):
    """The shared cache did not answer; the caller decides between a fallback and doing without."""


@dataclass(frozen=True, slots=True)
class KeySpace:
    """Names keys and tags of one deployable: `KeySpace("gateway").key("limit", "default", subject)`."""

    prefix: str

    def key(self, *parts: str) -> str:
        """Join parts to a key below the deployable's prefix; a colon inside a part cannot forge another key."""
        return ":".join((self.prefix, *(part.replace("%", "%25").replace(":", "%3A") for part in parts)))


def make_cache(redis_url: SecretStr | None, *, prefix: str, memory_size: int = DEFAULT_MEMORY_SIZE) -> Cache:
    """Build a cache on Redis when an address is given, in memory (at most `memory_size` values) otherwise.

    Every failure of Redis is raised as `CacheUnavailableError`, logged once until it answers again; in between
    Redis is tried every two seconds only, so that nobody waits for it. Values under one tag must all be stored
    with the same life: a tag lives as long as its last value.
    """
    cache = Cache(name=prefix)
    if redis_url is None:
        cache.setup("mem://", size=memory_size, check_interval=_EXPIRY_SWEEP_SECONDS)
        cache.setup_tags_backend(
            "mem://", size=memory_size * _TAGS_PER_VALUE, check_interval=_EXPIRY_SWEEP_SECONDS
        )
        return cache
    cache.setup(
        redis_url.get_secret_value(),
        suppress=False,
        pickle_type="json",  # the default unpickles whatever Redis holds
        client_name=f"undercroft-{prefix}",
        max_connections=_REDIS_CONNECTIONS,
        socket_timeout=_REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=_REDIS_TIMEOUT_SECONDS,
        wait_for_connection_timeout=_REDIS_TIMEOUT_SECONDS,
    )
    cache.add_middleware(_Availability(prefix))
    return cache


async def close_cache(cache: Cache) -> None:
    """Close a cache and its connections."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Cashews closes Redis by a name that redis-py renamed
        await cache.close()


async def count(cache: Cache, key: str, amount: int, *, life_seconds: float) -> int:
    """Add to a counter that ends `life_seconds` after its first increment; return the new total.

    Raises `CacheUnavailableError`, also for an answer that is no number: a limiter never reads one as "allowed".
    """
    total: object = await cache.incr(key, amount, expire=life_seconds)
    if not isinstance(total, int):
        raise CacheUnavailableError(f"counter answered {type(total).__name__}")
    if total == amount and amount != 1:
        await cache.expire(key, life_seconds)
    return total


class _Availability:
    """A Cashews middleware: types failures, logs the first of a row, spares a Redis that is away."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._away_until = 0.0
        self._is_away = False

    async def __call__(
        self,
        call: Callable[..., Awaitable[Any]],  # Cashews' own middleware signature
        cmd: Command,  # noqa: ARG002  Cashews passes it by position and type checkers compare names
        backend: Backend,  # noqa: ARG002  as above
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if self._is_away and time.monotonic() < self._away_until:
            raise CacheUnavailableError("Redis is away")
        try:
            result = await call(*args, **kwargs)
        except (CacheError, RedisError, OSError, TimeoutError) as error:
            self._note_failure(error)
            raise CacheUnavailableError("Redis did not answer") from error
        if self._is_away:
            self._is_away = False
            _logger.info("redis is back", cache=self._prefix)
        return result

    def _note_failure(self, error: Exception) -> None:
        self._away_until = time.monotonic() + _RETRY_AFTER_SECONDS
        if not self._is_away:
            self._is_away = True
            _logger.warning("redis is away", cache=self._prefix, error=str(error.__cause__ or error))
