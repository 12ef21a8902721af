"""DPoP proofs (RFC 9449): that whoever presents a token also holds the key that it is bound to."""

import base64
import hashlib
import hmac
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from cashews import Cache

from undercroft.shared.cache import CacheUnavailableError, KeySpace, count
from undercroft.shared.jose import TokenInvalidError, import_public_key, read_token

PROOF_LIFE_SECONDS: Final = 60
CLOCK_SKEW_SECONDS: Final = 10

_MAX_PROOF_LENGTH = 6_144
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")


@dataclass(frozen=True, slots=True)
class Proof:
    """A valid proof: the RFC 7638 thumbprint of the key that made it, and the identifier that is used once.

    `nonce` is what the proof carries (RFC 9449 section 8); whoever gave it out checks it.
    """

    thumbprint: str
    id: str
    nonce: str | None = None


def verify_proof(
    text: str, *, method: str, urls: Collection[str], now: float, access_token: str | None = None
) -> Proof:
    """Check a proof for a request (RFC 9449 section 4.3, all but the nonce and the replay).

    `urls` are those that the request may have been sent to, as `normalize_url` writes them; with `access_token` the
    proof must be made for it. Raises `TokenInvalidError`, whose message is safe to show.
    """
    token = read_token(text, media_type="dpop+jwt", max_length=_MAX_PROOF_LENGTH)
    key = import_public_key(token.header.get("jwk"))
    token.verify(key)
    claims = token.claims
    identifier, url, issued_at = claims.get("jti"), claims.get("htu"), claims.get("iat")
    if not isinstance(identifier, str) or not identifier:
        raise TokenInvalidError("The proof has no jti.")
    if claims.get("htm") != method:
        raise TokenInvalidError("The proof is for another method.")
    if not isinstance(url, str) or normalize_url(url) not in urls:
        raise TokenInvalidError("The proof is for another URL.")
    if not isinstance(issued_at, (int, float)) or isinstance(issued_at, bool):
        raise TokenInvalidError("The proof has no iat.")
    if not now - PROOF_LIFE_SECONDS <= issued_at <= now + CLOCK_SKEW_SECONDS:
        raise TokenInvalidError("The proof is too old, or from the future.")
    if access_token is not None and not _is_hash_of(access_token, claims.get("ath")):
        raise TokenInvalidError("The proof is for another access token.")
    nonce = claims.get("nonce")
    return Proof(key.thumbprint(), identifier, nonce if isinstance(nonce, str) else None)


def normalize_url(url: str) -> str | None:
    """Return a URL without query and fragment as RFC 3986 section 6.2 compares it, None for what is no HTTP URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc or " " in url:
        return None
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}{_ESCAPE.sub(_normalize_escape, parts.path) or '/'}"


def _normalize_escape(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if _UNRESERVED.fullmatch(character) else match[0].upper()


def _is_hash_of(access_token: str, claim: object) -> bool:
    digest = base64.urlsafe_b64encode(hashlib.sha256(access_token.encode("ascii")).digest())
    return isinstance(claim, str) and hmac.compare_digest(digest.rstrip(b"="), claim.encode())


class UsedProofs:
    """Remembers proofs for as long as they could be sent again: shared by replicas, or alone while Redis is away."""

    def __init__(self, shared: Cache, local: Cache, *, prefix: str) -> None:
        self._shared = shared
        self._local = local
        self._keys = KeySpace(prefix)

    async def is_first_use(self, proof: Proof) -> bool:
        """Tell whether a proof was not used before, and remember it."""
        digest = hashlib.sha256(f"{proof.thumbprint} {proof.id}".encode()).hexdigest()
        key = self._keys.key("dpop", digest)
        life = PROOF_LIFE_SECONDS + CLOCK_SKEW_SECONDS
        try:
            return await count(self._shared, key, 1, life_seconds=life) == 1
        except CacheUnavailableError:
            return await count(self._local, key, 1, life_seconds=life) == 1
