"""Access tokens (RFC 9068), verified here with identity's public keys; what they allow now is identity's answer."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from undercroft.gateway.auth.key_set import SigningKeys
from undercroft.gateway.errors import CredentialsExpiredError, CredentialsInvalidError
from undercroft.shared.jose import SignedToken, TokenInvalidError, read_token
from undercroft.shared.serialization import JsonValue

MAX_TOKEN_LENGTH: Final = 8_192
CLOCK_SKEW_SECONDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A genuine token's claims. `thumbprint` is the key that it is bound to (RFC 9449 section 6.1)."""

    subject: str
    client_id: str
    token_id: str
    key_id: str
    expires_at: float
    scopes: frozenset[str]
    grant_id: str | None
    organization: str | None
    environment: str | None
    thumbprint: str | None


class TokenVerifier:
    """Verifies tokens of one issuer for some audiences."""

    def __init__(
        self,
        keys: SigningKeys,
        *,
        issuer: str,
        audiences: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audiences = frozenset(audiences)
        self._clock = clock

    async def verify(self, text: str) -> AccessToken:
        """Return a token's claims.

        Raises `CredentialsInvalidError` for a token that proves nothing here, `CredentialsExpiredError` for one that
        is over, and `UnavailableError` when its key is unknown while identity is away. What costs nothing is checked
        first: only a token that could be good makes identity be asked for its key.
        """
        try:
            signed = read_token(text, media_type="at+jwt", max_length=MAX_TOKEN_LENGTH)
            token = self._read(signed)
            key = await self._keys.find(token.key_id)
            if key is None:
                raise CredentialsInvalidError
            signed.verify(key)
        except TokenInvalidError as error:
            raise CredentialsInvalidError from error
        return token

    def _read(self, signed: SignedToken) -> AccessToken:
        claims, now = signed.claims, self._clock()
        if claims.get("iss") != self._issuer or not self._audiences.intersection(
            _audience(claims.get("aud"))
        ):
            raise TokenInvalidError("The token is of another issuer, or for somebody else.")
        expires_at = _moment(claims, "exp")
        if expires_at <= now:
            raise CredentialsExpiredError
        if (
            _moment(claims, "iat") > now + CLOCK_SKEW_SECONDS
            or _not_before(claims) > now + CLOCK_SKEW_SECONDS
        ):
            raise TokenInvalidError("The token is from the future.")
        confirmation = claims.get("cnf")
        if confirmation is not None and not isinstance(confirmation, dict):
            raise TokenInvalidError("The token is bound in an unknown way.")
        return AccessToken(
            subject=_text(claims, "sub"),
            client_id=_text(claims, "client_id"),
            token_id=_text(claims, "jti"),
            key_id=_text(signed.header, "kid"),
            expires_at=expires_at,
            scopes=frozenset((_optional(claims, "scope") or "").split()),
            grant_id=_optional(claims, "sid"),
            organization=_optional(claims, "org"),
            environment=_optional(claims, "env"),
            thumbprint=_text(confirmation, "jkt") if confirmation is not None else None,
        )


def _text(claims: Mapping[str, JsonValue], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise TokenInvalidError(f"The token has no {name}.")
    return value


def _optional(claims: Mapping[str, JsonValue], name: str) -> str | None:
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise TokenInvalidError(f"The token's {name} is no text.")
    return value


def _moment(claims: Mapping[str, JsonValue], name: str) -> float:
    value = claims.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TokenInvalidError(f"The token has no {name}.")
    return value


def _not_before(claims: Mapping[str, JsonValue]) -> float:
    return _moment(claims, "nbf") if "nbf" in claims else 0.0


def _audience(value: JsonValue) -> list[str]:
    entries = value if isinstance(value, list) else [value]
    return [entry for entry in entries if isinstance(entry, str)]
