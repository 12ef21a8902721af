"""The answer that a connection is receiving: what has arrived, and who waits for more."""

import asyncio
import math
from collections import deque
from typing import Final, Protocol

import httpx

_HIGH_WATER_BYTES: Final = 65_536
_TIMER_SLACK_SECONDS: Final = 0.001


class Source(Protocol):
    """Where an answer comes from."""

    def resume_reading(self) -> None:
        """Go on receiving."""

    def leave(self, answer: "Answer") -> None:
        """Give up an answer that may not be complete."""


class StaleConnectionError(Exception):
    """A connection that was kept had been closed by the other side: nothing was answered on it."""


class Answer:
    """One answer. `read_seconds` bounds each wait; one timer serves all of them, moved by arithmetic."""

    __slots__ = (
        "_buffered",
        "_chunks",
        "_connection",
        "_deadline",
        "_failure",
        "_loop",
        "_read_seconds",
        "_timer",
        "_waiter",
        "headers",
        "is_complete",
        "is_head",
        "sending",
        "status",
    )

    def __init__(self, connection: Source, *, read_seconds: float | None, is_head: bool) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_head = is_head
        self.is_complete = False
        self.sending: asyncio.Task[None] | None = None  # a body that the answer did not wait for
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._read_seconds = read_seconds
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = math.inf

    async def start(self) -> None:
        """Wait for the headers."""
        while not self.status:
            if self._failure is not None:
                raise self._failure
            await self._wait()

    async def read(self) -> bytes:
        """Return the next chunk, or `b""` at the end."""
        while not self._chunks:
            if self._failure is not None:
                raise self._failure
            if self.is_complete:
                return b""
            await self._wait()
        chunk = self._chunks.popleft()
        self._buffered -= len(chunk)
        if self._buffered < _HIGH_WATER_BYTES:
            self._connection.resume_reading()
        return chunk

    async def aclose(self) -> None:
        """Leave; a connection whose answer is not complete is of no use to anybody else."""
        self.stop_timer()
        if self.sending is not None:
            self.sending.cancel()
        self._connection.leave(self)

    def restart_timer(self) -> None:
        """Let the wait for the other side begin anew."""
        if self._read_seconds is not None:
            self._deadline = self._loop.time() + self._read_seconds
            if self._timer is None:
                self._timer = self._loop.call_at(self._deadline, self._check)

    def rest_timer(self) -> None:
        """Stop counting: it is not the other side that is waited for."""
        self._deadline = math.inf

    def stop_timer(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def receive(self, chunk: bytes) -> bool:
        """Take a chunk; False asks for a pause."""
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        self.wake()
        return self._buffered < _HIGH_WATER_BYTES

    def complete(self) -> None:
        """Note the end of the body."""
        self.is_complete = True
        self.wake()

    def fail(self, error: Exception) -> None:
        """Note that nothing more will come."""
        if not self.is_complete and self._failure is None:
            self._failure = error
            self.wake()

    def wake(self) -> None:
        """Let the reader look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        self.restart_timer()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self.rest_timer()

    def _check(self) -> None:
        self._timer = None
        if self._deadline == math.inf:
            return
        if self._loop.time() + _TIMER_SLACK_SECONDS < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check)
        else:
            self.fail(httpx.ReadTimeout("no answer in time"))
