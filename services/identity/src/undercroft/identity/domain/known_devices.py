"""Browsers that signed in to an account before (OWASP's device cookies).

Their guesses are counted apart from everybody else's: an attacker who keeps an account's attempts used up cannot keep
its owner out.
"""

import base64
import binascii
import secrets
from typing import Final, NamedTuple

from undercroft.identity.domain.sealing import SealBrokenError, Sealer

_PLACE: Final = b"known-device"
_LONGEST: Final = 1_024


class KnownDevice(NamedTuple):
    """A browser, and the account that it signed in to."""

    id: str
    email_key: str


def issue_known_device(sealer: Sealer, email_key: str) -> str:
    """Return a cookie for a browser that has just signed in."""
    plain = f"{secrets.token_hex(16)} {email_key}".encode()
    return base64.urlsafe_b64encode(sealer.seal(plain, place=_PLACE)).rstrip(b"=").decode()


def read_known_device(sealer: Sealer, cookie: str | None) -> KnownDevice | None:
    """Return what a cookie proves, None for anything that was not issued here."""
    if cookie is None or len(cookie) > _LONGEST:
        return None
    try:
        sealed = base64.urlsafe_b64decode(cookie.encode("ascii") + b"=" * (-len(cookie) % 4))
        identifier, _, email_key = sealer.open(sealed, place=_PLACE).decode().partition(" ")
    except (SealBrokenError, binascii.Error, ValueError):
        return None
    return KnownDevice(identifier, email_key)
