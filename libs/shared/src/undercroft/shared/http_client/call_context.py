"""What a request passes on to the calls made for it: its id, its trace and its deadline."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from undercroft.shared.telemetry import TraceContext

TIMEOUT_HEADER: Final = "Request-Timeout-Ms"

_RAW_TIMEOUT_HEADER = b"request-timeout-ms"
_MAX_DIGITS = 9


@dataclass(frozen=True, slots=True)
class CallContext:
    """`deadline` is a moment of `time.monotonic`; None means that the caller set none."""

    request_id: str | None = None
    trace: TraceContext | None = None
    deadline: float | None = None

    def remaining_seconds(self) -> float | None:
        """Return the time left, never negative, or None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


_EMPTY = CallContext()
_current: ContextVar[CallContext] = ContextVar("undercroft_call_context", default=_EMPTY)


def current_call_context() -> CallContext:
    """Return the context of the request being handled, or an empty one."""
    return _current.get()


@contextmanager
def bind_call_context(context: CallContext) -> Iterator[CallContext]:
    """Make a context the current one inside the block."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


def deadline_from(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """Read a caller's `Request-Timeout-Ms` as a moment of `time.monotonic`; nonsense counts as none."""
    for name, value in headers:
        if name == _RAW_TIMEOUT_HEADER and value.isdigit() and len(value) <= _MAX_DIGITS:
            return time.monotonic() + int(value) / 1000
    return None
