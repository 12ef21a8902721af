"""Canonical CBOR (RFC 8949 section 4.2.3, RFC 7049 section 3.9) of JSON values: what ``fractional`` hashes.

Written out here because a general library takes 7 microseconds for a short string; the tests prove equality.
"""

from math import isnan
from operator import itemgetter
from struct import pack, unpack
from typing import Final

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0
_SIMPLE: Final = {None: b"\xf6", True: b"\xf5", False: b"\xf4"}
_NAN: Final = b"\xf9\x7e\x00"
_SMALLEST_INTEGER: Final = -(2**63)
_BEYOND_INTEGERS: Final = 2.0**64
_BEYOND_HEADS: Final = 2**64
_SHORT_TEXT: Final = 24
_SHORT_HEADS: Final = tuple(bytes((_TEXT + length,)) for length in range(_SHORT_TEXT))


def encode_text(text: str) -> bytes:
    """Encode a string; raises UnicodeEncodeError for lone surrogates."""
    encoded = text.encode()
    length = len(encoded)
    return (_SHORT_HEADS[length] if length < _SHORT_TEXT else _head(_TEXT, length)) + encoded


def encode(value: object) -> bytes:
    """Encode a JSON value, floats without a fraction as integers.

    Recursive: the caller bounds the depth of ``value`` (Run.charge_structure).
    """
    if isinstance(value, str):
        return encode_text(value)
    if value is None or isinstance(value, bool):
        return _SIMPLE[value]
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, list):
        return _head(_LIST, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        return _map(value)
    detail = f"{type(value).__name__} is not a JSON type"
    raise TypeError(detail)


def encode_list_head(length: int) -> bytes:
    """Encode the head of a list, for callers that append its items themselves."""
    return _head(_LIST, length)


def _head(major: int, argument: int) -> bytes:
    if argument < _SHORT_TEXT:
        return bytes((major + argument,))
    if argument < 1 << 8:
        return pack(">BB", major + 24, argument)
    if argument < 1 << 16:
        return pack(">BH", major + 25, argument)
    if argument < 1 << 32:
        return pack(">BL", major + 26, argument)
    return pack(">BQ", major + 27, argument)


def _integer(value: int) -> bytes:
    major, argument = (_UNSIGNED, value) if value >= 0 else (_NEGATIVE, -1 - value)
    if argument < _BEYOND_HEADS:
        return _head(major, argument)
    magnitude = argument.to_bytes((argument.bit_length() + 7) // 8, "big")
    tag = b"\xc2" if major == _UNSIGNED else b"\xc3"
    return tag + _head(_BYTES, len(magnitude)) + magnitude


def _float(value: float) -> bytes:
    if isnan(value):
        return _NAN
    if value.is_integer() and _SMALLEST_INTEGER <= value < _BEYOND_INTEGERS:
        return _integer(int(value))
    return _shortest(b"\xf9", ">e", value) or _shortest(b"\xfa", ">f", value) or b"\xfb" + pack(">d", value)


def _shortest(head: bytes, layout: str, value: float) -> bytes | None:
    """Encode in this width, None when it would lose precision."""
    try:
        packed = pack(layout, value)
    except OverflowError:
        return None
    return head + packed if unpack(layout, packed)[0] == value else None


def _map(value: dict[str, object]) -> bytes:
    # Shorter names first, then bytewise: the length leads the encoded name, so plain byte order is that order.
    members = sorted(((encode_text(name), item) for name, item in value.items()), key=itemgetter(0))
    return _head(_MAP, len(members)) + b"".join(name + encode(item) for name, item in members)
