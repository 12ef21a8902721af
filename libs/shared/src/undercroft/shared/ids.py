"""Typed identifiers: a UUIDv7 in the database, a TypeID such as `org_01h455vb4pex5vsknk084sn02q` on the wire.

Owns making, reading and writing them and their Pydantic type. Which prefixes exist is each service's business.
"""

import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Any, Self
from uuid import UUID

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import override

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
# int(text, 32) is C and knows only 0-9a-v, so decoding is one translation and one call.
_TO_PYTHON_DIGITS = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")

SUFFIX_PATTERN = "[0-7][0-9a-hjkmnp-tv-z]{25}"
_PREFIX_PATTERN = "[a-z](?:[a-z_]{0,61}[a-z])?"
_PREFIX = re.compile(_PREFIX_PATTERN)
_SUFFIX = re.compile(SUFFIX_PATTERN)
_TYPE_ID = re.compile(f"(?:({_PREFIX_PATTERN})_)?({SUFFIX_PATTERN})")

_COUNTER_BITS = 42
_COUNTER_LIMIT = 1 << _COUNTER_BITS
_TAIL_BITS = 32
# 64 bits, of which a new millisecond's counter takes 41, and the 32 of the tail.
_DRAW = Struct("=QI")
_SEED_SHIFT = 64 - (_COUNTER_BITS - 1)
_DRAWS_AT_ONCE = 64
_EXAMPLE = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


class InvalidIdError(ValueError):
    """A text that is no TypeID, or one of another kind. Its message never repeats the text."""


class _Clock:
    """The last UUIDv7 made in this process; the next one is always greater."""

    def __init__(self) -> None:
        self._milliseconds = 0
        self._counter = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what a forked child shares with its parent: the lock's holder and the randomness yet to be used."""
        self._lock = threading.Lock()
        self._draws: Iterator[tuple[int, int]] = iter(())

    def next(self) -> tuple[int, int, int]:
        """Return a millisecond and a 42-bit counter, together greater than any before, and 32 random bits."""
        now = time.time_ns() // 1_000_000
        with self._lock:
            seed, tail = next(self._draws, None) or self._draw()
            self._counter += 1
            # A clock that was set back must not break the order: stay on the last millisecond until it passes.
            if now > self._milliseconds or self._counter >= _COUNTER_LIMIT:
                self._milliseconds = max(now, self._milliseconds + 1)
                # The top bit starts at 0 so that the counter has room to grow (RFC 9562, section 6.2).
                self._counter = seed >> _SEED_SHIFT
            return self._milliseconds, self._counter, tail

    def _draw(self) -> tuple[int, int]:
        # Still from the operating system, as RFC 9562 section 6.9 asks: what is saved is one call or two for each id.
        self._draws = _DRAW.iter_unpack(os.urandom(_DRAW.size * _DRAWS_AT_ONCE))
        return next(self._draws)


_clock = _Clock()
os.register_at_fork(after_in_child=_clock.begin_anew)


def new_uuid7() -> UUID:
    """Make a UUIDv7 that sorts after every earlier one of this process (RFC 9562, sections 5.7 and 6.2 method 1).

    48 bits of milliseconds, a 42-bit counter seeded at random each millisecond, 32 random bits.
    """
    milliseconds, counter, tail = _clock.next()
    high = milliseconds << 16 | 0x7000 | counter >> 30
    low = 0b10 << 62 | (counter & 0x3FFF_FFFF) << _TAIL_BITS | tail
    return UUID(int=high << 64 | low)


def encode_suffix(value: UUID) -> str:
    """Write a UUID as the 26 base32 characters of a TypeID."""
    number = value.int
    return "".join([_PAIRS[number >> shift & 0x3FF] for shift in range(120, -1, -10)])


def decode_suffix(text: str) -> UUID:
    """Read 26 base32 characters; raise InvalidIdError unless they are exactly that and fit 128 bits."""
    if _SUFFIX.fullmatch(text) is None:
        raise InvalidIdError("An identifier ends in 26 characters of 0-9 and a-z without i, l, o and u.")
    return UUID(int=int(text.translate(_TO_PYTHON_DIGITS), 32))


# A process makes ids of a few prefixes only.
@lru_cache(maxsize=64)
def _check_prefix(prefix: str) -> None:
    if _PREFIX.fullmatch(prefix) is None:
        raise InvalidIdError("A prefix is up to 63 letters a-z, with underscores only between them.")


@dataclass(frozen=True, slots=True)
class TypeId:
    """A TypeID by version 0.3 of its specification: `<prefix>_<suffix>`, or the suffix alone for an empty prefix."""

    prefix: str
    uuid: UUID

    def __post_init__(self) -> None:
        if self.prefix:
            _check_prefix(self.prefix)

    @classmethod
    def new(cls, prefix: str) -> Self:
        """Make a fresh identifier."""
        return cls(prefix, new_uuid7())

    @classmethod
    def parse(cls, text: str, *, expect: str | None = None) -> Self:
        """Read a TypeID; with `expect`, one of that prefix only. Raise InvalidIdError otherwise."""
        match = _TYPE_ID.fullmatch(text)
        if match is None:
            raise InvalidIdError("This is not a TypeID.")
        prefix = match[1] or ""
        if expect is not None and prefix != expect:
            raise InvalidIdError(f"An identifier that begins with {expect}_ is needed here.")
        return cls(prefix, UUID(int=int(match[2].translate(_TO_PYTHON_DIGITS), 32)))

    @override
    def __str__(self) -> str:
        suffix = encode_suffix(self.uuid)
        return f"{self.prefix}_{suffix}" if self.prefix else suffix


@dataclass(frozen=True, slots=True)
class IdOf:
    """Make a UUID field travel as a TypeID of one prefix: `OrganizationId = Annotated[UUID, IdOf("org")]`.

    Python code sees and may pass a `uuid.UUID`; JSON, path and query parameters carry only the TypeID.
    """

    prefix: str

    def __post_init__(self) -> None:
        _check_prefix(self.prefix)

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            # `model_dump()` keeps the UUID for code; JSON gets the TypeID.
            serialization=core_schema.plain_serializer_function_ser_schema(
                self._serialize, return_schema=core_schema.str_schema(), when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "type": "string",
            "pattern": f"^{self.prefix}_{SUFFIX_PATTERN}$",
            "examples": [self._serialize(_EXAMPLE)],
        }

    # Pydantic hands over whatever the caller sent.
    def _validate(self, value: Any) -> UUID:
        if isinstance(value, UUID):
            return value
        if isinstance(value, TypeId) and value.prefix == self.prefix:
            return value.uuid
        if isinstance(value, str):
            try:
                return TypeId.parse(value, expect=self.prefix).uuid
            except InvalidIdError:
                pass
        raise PydanticCustomError(
            "type_id",
            "Input should be an identifier like {example}",
            {"example": self._serialize(_EXAMPLE)},
        )

    def _serialize(self, value: UUID) -> str:
        return f"{self.prefix}_{encode_suffix(value)}"
