"""Who is told of changes: the open event streams of this process, bounded, and each owed the newest news only.

A notification says no more than that something changed (OFREP ADR-0008), so a newer one replaces an older one that a
slow client has not taken yet: what is kept for a client never grows.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import orjson

from undercroft.flags.errors import StreamLimitError, StreamsFullError
from undercroft.flags.service.snapshots import Snapshot

_HEARTBEAT: Final = b":\n\n"
_RETRY_MILLISECONDS: Final = (1_000, 3_000)
_TICK_SECONDS: Final = 0.5
_LIFE_SPREAD: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBounds:
    """How many streams at a time, and for how long. Both limits are of one process."""

    max_streams: int
    max_streams_per_key: int
    heartbeat_seconds: float
    life_seconds: float


class Subscription:
    """One open stream: what is to be sent to it next."""

    __slots__ = ("_frame", "_waiter", "beats_at", "ends_at", "is_ended")

    def __init__(self, *, beats_at: float, ends_at: float) -> None:
        self.beats_at = beats_at
        self.ends_at = ends_at
        self.is_ended = False
        self._frame: bytes | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def next(self) -> bytes | None:
        """Return what is to be sent, as soon as there is something; None when the stream is over."""
        while self._frame is None and not self.is_ended:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        frame, self._frame = self._frame, None
        return None if self.is_ended else frame

    def tell(self, frame: bytes) -> None:
        """Send this instead of anything that was not taken yet."""
        self._frame = frame
        self._wake()

    def beat(self) -> None:
        """Show that the stream lives, unless something else is on its way."""
        if self._frame is None:
            self.tell(_HEARTBEAT)

    def end(self) -> None:
        """Let the stream end; the client comes back and says what it heard last."""
        self.is_ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class StreamHub:
    """The streams of this process, by environment."""

    def __init__(
        self,
        bounds: StreamBounds,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bounds = bounds
        self._clock = clock
        self._monotonic = monotonic
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._by_key: dict[str, int] = {}
        self._versions: dict[str, str] = {}

    def __len__(self) -> int:
        """Count the open streams."""
        return sum(self._by_key.values())

    def publish(self, snapshots: Iterable[Snapshot]) -> None:
        """Tell the streams of every environment whose flags are others now; end those of one that is no more."""
        versions = {each.key: each.flags.version for each in snapshots}
        before, self._versions = self._versions, versions
        for environment, subscriptions in self._subscriptions.items():
            version = versions.get(environment)
            if version is None:
                for each in subscriptions:
                    each.end()
            elif version != before.get(environment):
                frame = _event(version, now=self._clock())
                for each in subscriptions:
                    each.tell(frame)

    @contextmanager
    def open(self, snapshot: Snapshot, *, key: str, last_seen: str | None) -> Iterator[Subscription]:
        """Follow an environment until the block is left; `last_seen` is the version that the client knows.

        One who knows another than the present version is told at once. Raises `StreamLimitError` for a caller's
        (`key`, its subject), and `StreamsFullError` for the process's limit.
        """
        self._check(key)
        now, bounds = self._monotonic(), self._bounds
        subscription = Subscription(
            # A first heartbeat at any time within the interval: what connects together need not beat together.
            beats_at=now + random.uniform(0, bounds.heartbeat_seconds),  # noqa: S311  spreads work
            ends_at=now + bounds.life_seconds * random.uniform(1 - _LIFE_SPREAD, 1),  # noqa: S311  as above
        )
        version = snapshot.flags.version
        news = _event(version, now=self._clock()) if last_seen not in (None, version) else b""
        subscription.tell(_greeting(version) + news)
        self._by_key[key] = self._by_key.get(key, 0) + 1
        self._subscriptions.setdefault(snapshot.key, set()).add(subscription)
        try:
            yield subscription
        finally:
            self._leave(subscription, snapshot.key, key)

    async def run(self, is_draining: Callable[[], bool]) -> None:
        """Send heartbeats, end streams that have lived long enough, and all of them when the process is to stop."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.tick(is_stopping=is_draining())

    def tick(self, *, is_stopping: bool = False) -> None:
        """Do what is due by now."""
        now = self._monotonic()
        for subscriptions in self._subscriptions.values():
            for each in subscriptions:
                if is_stopping or now >= each.ends_at:
                    each.end()
                elif now >= each.beats_at:
                    each.beats_at = now + self._bounds.heartbeat_seconds
                    each.beat()

    def _check(self, key: str) -> None:
        if len(self) >= self._bounds.max_streams:
            raise StreamsFullError("This replica has as many event streams as it may have.")
        if self._by_key.get(key, 0) >= self._bounds.max_streams_per_key:
            raise StreamLimitError(
                f"There are {self._bounds.max_streams_per_key} event streams with these credentials already."
            )

    def _leave(self, subscription: Subscription, environment: str, key: str) -> None:
        self._subscriptions[environment].discard(subscription)
        if not self._subscriptions[environment]:
            del self._subscriptions[environment]
        self._by_key[key] -= 1
        if not self._by_key[key]:
            del self._by_key[key]


def _greeting(version: str) -> bytes:
    """Set when to come back, and the id to come back with: a message without data is not dispatched.

    HTML standard, server-sent events: the last event ID is set even so. Coming back is spread over two seconds.
    """
    retry = random.randint(*_RETRY_MILLISECONDS)  # noqa: S311  spreads reconnections
    return f"retry: {retry}\nid: {version}\n\n".encode()


def _event(version: str, *, now: float) -> bytes:
    """Return the event of OFREP ADR-0008; `lastModified` is in unix seconds."""
    content = orjson.dumps({"type": "refetchEvaluation", "etag": version, "lastModified": int(now)})
    return b"event: message\nid: " + version.encode() + b"\ndata: " + content + b"\n\n"
