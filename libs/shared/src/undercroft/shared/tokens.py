"""Secret tokens that carry their identifier and a checksum, so that a mistyped one is refused without any I/O.

Form: `uc_<mode>_<identifier: 26 base32>_<secret: 43 base62><checksum: 6 base62>`. Only the hash is ever stored.
"""

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast, get_args
from uuid import UUID

from undercroft.shared.ids import SUFFIX_PATTERN, decode_suffix, encode_suffix

TokenMode = Literal["live", "test"]

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [high + low for high in _BASE62 for low in _BASE62]
_PAIR_COUNT = len(_PAIRS)
_SECRET_LENGTH = 43  # 62 ** 43 is just above 2 ** 256
_CHECKSUM_LENGTH = 6  # 62 ** 6 is above 2 ** 32
_TOKEN = re.compile(
    f"uc_({'|'.join(get_args(TokenMode))})_({SUFFIX_PATTERN})_[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECKSUM_LENGTH}}}"
)


@dataclass(frozen=True, slots=True)
class Token:
    """A token just made. `text` is shown once and kept out of `repr`; `secret_hash` is what to store."""

    text: str = field(repr=False)
    id: UUID
    secret_hash: bytes = field(repr=False)


class ParsedToken(NamedTuple):
    """What a well-formed token says about itself. It proves nothing until its hash is found."""

    mode: TokenMode
    id: UUID


def mint_token(mode: TokenMode, id: UUID) -> Token:  # noqa: A002 - the name of the field it fills
    """Make a token with 256 random bits for the identifier."""
    if mode not in get_args(TokenMode):
        raise ValueError("A token's mode is live or test.")
    body = f"uc_{mode}_{encode_suffix(id)}_{_random_secret()}"
    text = body + _checksum(body)
    return Token(text=text, id=id, secret_hash=hash_token(text))


def parse_token(text: str) -> ParsedToken | None:
    """Read a token's mode and identifier, or None for a text that was never minted: wrong form or checksum."""
    match = _TOKEN.fullmatch(text)
    if match is None or _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]:
        return None
    return ParsedToken(cast("TokenMode", match[1]), decode_suffix(match[2]))


def hash_token(text: str) -> bytes:
    """Return the SHA-256 of the whole token. It is enough by itself: the secret has full entropy."""
    return hashlib.sha256(text.encode()).digest()


def _random_secret() -> str:
    return "".join([secrets.choice(_BASE62) for _ in range(_SECRET_LENGTH)])


def _checksum(body: str) -> str:
    # CRC-32 finds every error burst of up to 32 bits: any one wrong character, any two neighbours swapped.
    rest, low = divmod(zlib.crc32(body.encode()), _PAIR_COUNT)
    high, middle = divmod(rest, _PAIR_COUNT)
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]
