"""Secrets that travel in links and cookies: random, stored only as a hash."""

import hashlib
import re
import secrets
from typing import Final

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_SECRET_BYTES: Final = 32


def new_secret() -> str:
    """Return 256 random bits in base64url."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def secret_hash(secret: str) -> bytes | None:
    """Return what is stored of a secret, None for a text that `new_secret` never returned."""
    return hashlib.sha256(secret.encode()).digest() if _SECRET.fullmatch(secret) else None


def hash_of(secret: str) -> bytes:
    """Return what is stored of a secret that was just made."""
    return hashlib.sha256(secret.encode()).digest()
