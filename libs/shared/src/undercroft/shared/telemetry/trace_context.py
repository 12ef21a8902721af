"""W3C Trace Context: which trace a request belongs to, read from its headers and written to those it causes.

Independent of OpenTelemetry, so that traces cross this process and appear in its logs also where nothing is exported.
"""

import os
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

_SAMPLED: Final = 0x01
_RANDOM: Final = 0x02

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_MEMBER = re.compile(
    rb"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MOST_MEMBERS: Final = 32
_OPTIONAL_WHITESPACE: Final = b" \t"

# W3C asks for ids that are random, so that they are unique and can be sampled by, and not that they are hard to guess:
# a generator seeded by the operating system gives both at a tenth of the cost of asking that for every id. It is our
# own, because whoever seeds the shared one of `random` must not make traces repeat.
_random: Final = random.Random()  # noqa: S311
# A forked child would otherwise draw the ids of its parent.
os.register_at_fork(after_in_child=_random.seed)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span's place in its trace: lower-case hexadecimal ids of 32 and 16 digits, two flags, other vendors' state."""

    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    is_sampled: bool = False
    is_random: bool = True
    trace_state: str = ""

    @classmethod
    def new(cls, *, is_sampled: bool = False) -> Self:
        """Begin a trace with its first span."""
        return cls(trace_id=_new_id(16), span_id=_new_id(8), is_sampled=is_sampled)

    @classmethod
    def parse(cls, headers: Iterable[tuple[bytes, bytes]], *, sample_new: bool = False) -> Self:
        """Continue the caller's trace in a new span, or begin one when the caller sent no valid `traceparent`.

        `headers` are those of an ASGI scope. Rules: W3C Trace Context level 2, sections 3.2 and 4; a `traceparent`
        sent twice or invalid begins a new trace and drops `tracestate`, an invalid `tracestate` is dropped alone.
        """
        parents: list[bytes] = []
        states: list[bytes] = []
        for name, value in headers:
            # Only these two lengths are worth lowering: this runs for each header of each request.
            if len(name) == 11 and name.lower() == b"traceparent":  # noqa: PLR2004
                parents.append(value)
            elif len(name) == 10 and name.lower() == b"tracestate":  # noqa: PLR2004
                states.append(value)
        fields = _parse_traceparent(parents[0]) if len(parents) == 1 else None
        if fields is None:
            return cls.new(is_sampled=sample_new)
        trace_id, caller_span_id, flags = fields
        return cls(
            trace_id=trace_id,
            span_id=_new_id(8),
            parent_span_id=caller_span_id,
            is_sampled=bool(flags & _SAMPLED),
            is_random=bool(flags & _RANDOM),
            trace_state=_parse_tracestate(states) if states else "",
        )

    def child(self) -> Self:
        """Return the context of a new span below this one, such as a call to another service."""
        # Not dataclasses.replace, which takes longer than all the rest.
        return type(self)(
            trace_id=self.trace_id,
            span_id=_new_id(8),
            parent_span_id=self.span_id,
            is_sampled=self.is_sampled,
            is_random=self.is_random,
            trace_state=self.trace_state,
        )

    def headers(self) -> dict[str, str]:
        """Return the headers that make this span the parent of the request they are sent with."""
        flags = self.is_sampled * _SAMPLED | self.is_random * _RANDOM
        traceparent = f"00-{self.trace_id}-{self.span_id}-{flags:02x}"
        if not self.trace_state:
            return {"traceparent": traceparent}
        return {"traceparent": traceparent, "tracestate": self.trace_state}


def _new_id(octets: int) -> str:
    while True:
        made = _random.randbytes(octets).hex()
        if made.strip("0"):
            # All zeroes mean "invalid" on the wire.
            return made


def _parse_traceparent(value: bytes) -> tuple[str, str, int] | None:
    match = _TRACEPARENT.fullmatch(value.strip(_OPTIONAL_WHITESPACE))
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == b"ff" or (version == b"00" and rest is not None):
        return None
    if not trace_id.strip(b"0") or not span_id.strip(b"0"):
        return None
    return trace_id.decode(), span_id.decode(), int(flags, 16)


def _parse_tracestate(values: list[bytes]) -> str:
    """Join repeated headers in order; the whole state, or nothing when any member is invalid or there are too many."""
    members = [member.strip(_OPTIONAL_WHITESPACE) for member in b",".join(values).split(b",")]
    members = [member for member in members if member]
    if len(members) > _MOST_MEMBERS or not all(_MEMBER.fullmatch(member) for member in members):
        return ""
    return b",".join(members).decode()
