"""Codes that people read from one screen and type on another (RFC 8628 section 6.1)."""

import secrets
from typing import Final

# No vowels, so that no words appear; nothing that is mistaken for something else.
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
_LENGTH: Final = 8


def new_user_code() -> str:
    """Make a code with 34 bits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def show_user_code(code: str) -> str:
    """Write a code as it is read out."""
    return f"{code[:4]}-{code[4:]}"


def read_user_code(text: str) -> str | None:
    """Read what somebody typed: case, spaces and dashes do not count. None for what is no code."""
    code = "".join(text.upper().split()).replace("-", "")
    return code if len(code) == _LENGTH and set(code) <= set(_LETTERS) else None
