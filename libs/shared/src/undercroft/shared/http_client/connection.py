"""One HTTP/1.1 connection to another server: llhttp (through httptools) reads, asyncio carries (RFC 9112)."""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools
import httpx
from typing_extensions import override

from undercroft.shared.http_client.answer import Answer, StaleConnectionError

_MAX_HEADER_BYTES: Final = 65_536
_FIRST_FINAL_STATUS: Final = 200
_BODILESS: Final = frozenset({204, 304})


class Connection(asyncio.Protocol):
    """A connection: at most one request at a time, given back when its answer is complete."""

    def __init__(
        self, on_free: Callable[["Connection"], None], on_closed: Callable[["Connection"], None]
    ) -> None:
        self.origin = ""
        self.idle_since = 0.0
        self.is_closed = False
        self._on_free = on_free
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._requests = 0
        self._has_received = False
        self._is_sent = False
        self._is_until_end = False
        self._is_kept_alive = False
        self._is_broken = False
        self._is_paused = False
        self._writer: asyncio.Future[None] | None = None
        self._is_write_paused = False

    def begin(self, head: bytes, *, is_whole: bool, read_seconds: float | None, is_head: bool) -> Answer:
        """Send a request's head (with its body when `is_whole`) and return its answer to be."""
        self._answer = answer = Answer(self, read_seconds=read_seconds, is_head=is_head)
        self._has_received = False
        self._is_until_end = False
        self._is_kept_alive = False
        self._is_sent = is_whole
        self._requests += 1
        self._write(head)
        return answer

    async def write(self, part: bytes, *, seconds: float | None) -> None:
        """Send a part of a body, waiting while the other side does not take it."""
        self._write(part)
        if self._is_write_paused and not self.is_closed:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(seconds):
                    await self._writer
            except TimeoutError:
                raise httpx.WriteTimeout("the body was not taken in time") from None
            finally:
                self._writer = None

    def finish_request(self) -> None:
        """Note that the whole request was sent."""
        self._is_sent = True
        if self._answer is not None and self._answer.is_complete:
            self._release()

    def leave(self, answer: Answer) -> None:
        """Give up an answer that may not be complete."""
        if self._answer is answer:
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def resume_reading(self) -> None:
        """Go on receiving."""
        if self._is_paused and self._transport is not None and not self.is_closed:
            self._is_paused = False
            self._transport.resume_reading()

    def _write(self, content: bytes) -> None:
        if self._transport is not None and not self.is_closed:
            self._transport.write(content)

    # What asyncio calls.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses

    @override
    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.abort()
            return
        self._has_received = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            answer.fail(httpx.RemoteProtocolError("no valid answer"))
            self.abort()
            return
        if answer.is_complete and self._is_sent:
            self._release()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self.resume_writing()
        answer = self._answer
        if answer is not None:
            self._answer = None
            if self._is_until_end and exc is None and answer.status:
                answer.complete()
            elif answer.status:
                answer.fail(httpx.ReadError("the answer was cut"))
            elif self._requests > 1 and not self._has_received:
                answer.fail(StaleConnectionError())
            else:
                answer.fail(httpx.RemoteProtocolError("the connection ended before the answer"))
        self._on_closed(self)

    @override
    def pause_writing(self) -> None:
        self._is_write_paused = True

    @override
    def resume_writing(self) -> None:
        self._is_write_paused = False
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin an answer; a second one to one request breaks the connection."""
        if self._answer is None or self._answer.is_complete:
            self._is_broken = True
        self._headers = []
        self._header_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise ValueError("headers too large")
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Tell whoever waits for the headers, unless they are of an interim answer."""
        answer, status = self._answer, self._parser.get_status_code()
        if self._is_broken or answer is None or status < _FIRST_FINAL_STATUS:
            return
        self._is_until_end = status not in _BODILESS and not any(
            name in (b"content-length", b"transfer-encoding") for name, _ in self._headers
        )
        answer.headers = self._headers
        answer.status = status
        if answer.is_head:
            self._is_kept_alive = self._parser.should_keep_alive()
            self._parser = httptools.HttpResponseParser(self)  # the old one waits for a body that never comes
            self._is_until_end = False
            answer.complete()
        answer.wake()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        answer = self._answer
        if answer is None or answer.is_complete:
            self._is_broken = True
        elif not answer.receive(body) and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Note the end of an answer."""
        if self._answer is not None and self._answer.status and not self._is_broken:
            self._is_kept_alive = self._parser.should_keep_alive()  # known only here
            self._answer.complete()

    def _release(self) -> None:
        answer, self._answer = self._answer, None
        if answer is None:
            return
        self.resume_reading()
        if self._is_broken or not self._is_kept_alive:
            self.abort()
        else:
            self._on_free(self)
