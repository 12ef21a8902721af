"""The event streams that are open, bounded, and ended when what opened them may be worth something else now."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from undercroft.gateway.auth.credentials import Credential
from undercroft.gateway.errors import StreamsFullError
from undercroft.gateway.proxy.passage import Passage
from undercroft.shared.errors import UnavailableError
from undercroft.shared.http_client import ExchangeTransport

_DRAIN_CHECK_SECONDS: Final = 0.25


class OpenStream:
    """One stream and the task that forwards it."""

    __slots__ = ("_passage", "_task")

    def __init__(self, passage: Passage, task: asyncio.Task[object]) -> None:
        self._passage = passage
        self._task = task

    def end(self) -> None:
        """End the answer as whole; its reader comes back, and is let in or refused."""
        if not (self._passage.is_ended or self._passage.is_gone):
            self._passage.is_ended = True
            self._task.cancel()


class OpenStreams:
    """The streams of this process, by the tags of their credentials."""

    def __init__(self, *, limit: int, clock: Callable[[], float] = time.time) -> None:
        self._limit = limit
        self._clock = clock
        self._open: set[OpenStream] = set()
        self._tagged: dict[str, set[OpenStream]] = {}

    def __len__(self) -> int:
        """Count the open streams."""
        return len(self._open)

    @contextmanager
    def admit(self, passage: Passage, task: asyncio.Task[object]) -> Iterator[None]:
        """Count a stream while the block runs in its task; raises `StreamsFullError`.

        It ends with the credential that opened it, except that of a stream token: that is short-lived because it
        stands in an address, and only opens.
        """
        if len(self._open) >= self._limit:
            raise StreamsFullError("The gateway has as many event streams open as it may have.")
        stream, credential = OpenStream(passage, task), passage.credential
        tags = credential.tags if credential is not None else ()
        timer = self._ends_with(credential, stream)
        self._open.add(stream)
        for tag in tags:
            self._tagged.setdefault(tag, set()).add(stream)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            self._open.discard(stream)
            for tag in tags:
                self._forget(tag, stream)

    def end(self, tag: str) -> None:
        """End every stream whose credential has a tag."""
        for stream in tuple(self._tagged.get(tag, ())):
            stream.end()

    def end_all(self) -> None:
        """End every stream."""
        for stream in tuple(self._open):
            stream.end()

    async def end_when_draining(self, is_draining: Callable[[], bool]) -> None:
        """End the streams when the process is to stop: it would wait for them."""
        while True:
            await asyncio.sleep(_DRAIN_CHECK_SECONDS)
            if is_draining():
                self.end_all()

    def _ends_with(self, credential: Credential | None, stream: OpenStream) -> asyncio.TimerHandle | None:
        if credential is None or credential.expires_at is None or credential.only_opens:
            return None
        seconds = max(0.0, credential.expires_at - self._clock())
        return asyncio.get_running_loop().call_later(seconds, stream.end)

    def _forget(self, tag: str, stream: OpenStream) -> None:
        tagged = self._tagged[tag]
        tagged.discard(stream)
        if not tagged:
            del self._tagged[tag]


@dataclass(frozen=True, slots=True)
class Ways:
    """What requests go out on: event streams, which last, take no places from the others."""

    exchanges: ExchangeTransport
    streams: ExchangeTransport
    open_streams: OpenStreams


async def finish(passage: Passage) -> None:
    """Give a stream that was ended a proper end, so that its reader comes back at once.

    Raises `UnavailableError` when it was ended before it began.
    """
    if passage.is_gone:
        return
    if not passage.status:
        raise UnavailableError("The stream was ended before it began.")
    await passage.send({"type": "http.response.body", "body": b""})
