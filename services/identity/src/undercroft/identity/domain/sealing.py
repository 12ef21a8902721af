"""Secrets at rest that must be read again, which a hash would not allow: sealed with AES-256-GCM."""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES: Final = 12


class SealBrokenError(ValueError):
    """What was sealed cannot be opened: with another key, for another place, or changed in between."""


class Sealer:
    """Seals bytes for one purpose with a key of 32 bytes, derived for it: `derive_key(secret_key, "<purpose>")`.

    `place` names where the sealed value belongs, usually the row's id: put anywhere else, it cannot be opened.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, *, place: bytes) -> bytes:
        """Return a random nonce (NIST SP 800-38D section 8.2.2), the ciphertext and its tag."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, place)

    def open(self, sealed: bytes, *, place: bytes) -> bytes:
        """Return what was sealed for this place; raises `SealBrokenError`."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place)
        except (InvalidTag, ValueError):
            raise SealBrokenError("The sealed value is not of this key and place.") from None
