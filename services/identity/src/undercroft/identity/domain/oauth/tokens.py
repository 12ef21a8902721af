"""What tokens say."""

import base64
import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from undercroft.identity.domain.oauth.scopes import join

ACCESS_TOKEN_TYPE: Final = "at+jwt"  # noqa: S105  a media type
ID_TOKEN_TYPE: Final = "JWT"  # noqa: S105  as above


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPolicy:
    """What settings say about tokens; times in seconds."""

    issuer: str
    resources: tuple[str, ...]
    access_token_seconds: int
    id_token_seconds: int
    refresh_token_idle_seconds: int
    grant_seconds: int
    grace_seconds: int

    @property
    def known_resources(self) -> frozenset[str]:
        """Every audience that may be asked for."""
        return frozenset({self.issuer, *self.resources})


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a token endpoint answers; secrets are kept out of `repr`."""

    access_token: str = field(repr=False)
    expires_in: int
    scope: str
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    token_type: str = "Bearer"  # noqa: S105  a scheme

    def members(self) -> dict[str, str | int]:
        """Return the members of the answer (RFC 6749 section 5.1)."""
        members: dict[str, str | int] = {
            "access_token": self.access_token,
            "token_type": self.token_type,
            "expires_in": self.expires_in,
            "scope": self.scope,
        }
        if self.refresh_token is not None:
            members["refresh_token"] = self.refresh_token
        if self.id_token is not None:
            members["id_token"] = self.id_token
        return members


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessTokenSubject:
    """Whom an access token speaks for, to whom, how far."""

    subject: str
    client_id: str
    audience: Sequence[str]
    scopes: Collection[str]
    thumbprint: str | None = None
    further: Mapping[str, object] = field(default_factory=dict)


def access_claims(
    subject: AccessTokenSubject, policy: TokenPolicy, now: datetime, *, seconds: int | None = None
) -> dict[str, object]:
    """Return the claims of an access token (RFC 9068 section 2.2)."""
    issued_at = int(now.timestamp())
    claims: dict[str, object] = {
        "iss": policy.issuer,
        "sub": subject.subject,
        "aud": subject.audience,
        "client_id": subject.client_id,
        "iat": issued_at,
        "exp": issued_at + (policy.access_token_seconds if seconds is None else seconds),
        "jti": secrets.token_urlsafe(16),
        "scope": join(subject.scopes),
        **subject.further,
    }
    if subject.thumbprint is not None:
        claims["cnf"] = {"jkt": subject.thumbprint}
    return claims


def half_hash(token: str) -> str:
    """Return `at_hash` (OpenID Connect Core section 3.1.3.6), for algorithms that hash with SHA-256."""
    digest = hashlib.sha256(token.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode()


def new_secret() -> str:
    """Make an opaque secret of 256 bits."""
    return secrets.token_urlsafe(32)


def hash_secret(text: str) -> bytes:
    """Return what is stored of a secret with full entropy."""
    return hashlib.sha256(text.encode()).digest()
