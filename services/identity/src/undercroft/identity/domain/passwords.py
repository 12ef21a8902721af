"""Which passwords are taken, by NIST SP 800-63B section 5.1.1.2: length, no well-known ones, no rules of composition."""

import gzip
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

LONGEST_BYTES: Final = 1_024

_SHORTEST_PERSONAL_PART: Final = 4
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class PasswordProblem:
    """Why a password is refused, for people and for programs."""

    detail: str
    code: str


def normalise_password(password: str) -> str:
    """Return a password as it is hashed: in NFKC, so that every keyboard's way of writing it is the same."""
    return unicodedata.normalize("NFKC", password)


def find_problem(password: str, *, min_length: int, personal: tuple[str, ...] = ()) -> PasswordProblem | None:
    """Return why a normalised password is refused, None when it is good.

    `personal` is what everybody knows about the person: address and name.
    """
    if len(password) < min_length:
        return PasswordProblem(f"Use {min_length} characters or more.", "password_too_short")
    if len(password.encode()) > LONGEST_BYTES:
        return PasswordProblem(f"Use at most {LONGEST_BYTES} bytes.", "password_too_long")
    folded = password.casefold()
    if folded in common_passwords() or len(set(folded)) == 1:
        return PasswordProblem("This password is well known. Choose another one.", "password_too_common")
    if any(part in folded for part in _personal_parts(personal)):
        detail = "Leave your name and address out of the password."
        return PasswordProblem(detail, "password_contains_personal_data")
    return None


@cache
def common_passwords() -> frozenset[str]:
    """Return the well-known passwords, in lower case; read once, at the first new password."""
    packed = files("undercroft.identity.domain").joinpath("common_passwords.txt.gz").read_bytes()
    return frozenset(gzip.decompress(packed).decode().splitlines())


def _personal_parts(personal: tuple[str, ...]) -> set[str]:
    folded = [text.casefold() for text in personal]
    # Of an address only what stands before the @: half the world has the same provider.
    own = [text.partition("@")[0] for text in folded]
    parts = {*folded, *own, *(word for text in own for word in _WORD.findall(text))}
    return {part for part in parts if len(part) >= _SHORTEST_PERSONAL_PART}
