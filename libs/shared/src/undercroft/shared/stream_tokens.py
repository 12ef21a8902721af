"""Short-lived tokens for the addresses of event streams: a browser's EventSource sends no headers.

A service that was told who calls signs what it was told; the gateway reads it back when the stream is opened, and asks
what it is worth now, as with an access token. It opens streams and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from pydantic import SecretStr

from undercroft.shared.auth import GATEWAY, PrincipalKeys
from undercroft.shared.jose import TokenInvalidError, is_compact
from undercroft.shared.serialization import dumps, loads
from undercroft.shared.settings import derive_key

STREAM_TOKEN_PARAMETER: Final = "token"  # noqa: S105  its name
MAX_LIFE_SECONDS: Final = 24 * 3_600

_ALGORITHM: Final = "HS256"
_MEDIA_TYPE: Final = "stream+jwt"
_MAX_LENGTH: Final = 2_048
_CLOCK_SKEW_SECONDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamClaims:
    """Whose stream it is, in which environment; `organization` and `grant_id` are TypeIDs. Times are unix seconds."""

    subject: str
    environment: str
    organization: str | None
    grant_id: str | None
    issued_at: int
    expires_at: int


class StreamTokenSigner:
    """Signs in the name of one deployable. The same claims give the same token."""

    def __init__(self, issuer: str, keys: PrincipalKeys) -> None:
        self._issuer = issuer
        self._key = _derived(keys, issuer)

    @property
    def can_sign(self) -> bool:
        """Tell whether the deployable was given a key that it shares with the gateway."""
        return self._key is not None

    def sign(self, claims: StreamClaims) -> str:
        """Return a compact JWS; raises `LookupError` without a key."""
        if self._key is None:
            raise LookupError(f"no principal key for {self._issuer}|{GATEWAY}")
        payload = {
            "iss": self._issuer,
            "aud": GATEWAY,
            "sub": claims.subject,
            "env": claims.environment,
            "org": claims.organization,
            "sid": claims.grant_id,
            "iat": claims.issued_at,
            "exp": claims.expires_at,
        }
        known = {name: value for name, value in payload.items() if value is not None}
        return jws.serialize_compact({"alg": _ALGORITHM, "typ": _MEDIA_TYPE}, dumps(known), self._key)


class StreamTokenReader:
    """Reads, in the gateway, the tokens of one deployable."""

    def __init__(self, issuer: str, keys: PrincipalKeys) -> None:
        self._issuer = issuer
        self._key = _derived(keys, issuer)

    def read(self, text: str, *, now: float) -> StreamClaims:
        """Return a genuine token's claims, of one that has expired too; raises `TokenInvalidError`."""
        if self._key is None or not is_compact(text, max_length=_MAX_LENGTH):
            raise TokenInvalidError("This is no stream token.")
        try:
            signed = jws.deserialize_compact(text, self._key, algorithms=[_ALGORITHM])
            claims = loads(signed.payload)
        except (JoseError, ValueError) as error:
            raise TokenInvalidError("The stream token is not genuine.") from error
        header = signed.headers()
        if header.get("typ") != _MEDIA_TYPE or not isinstance(claims, dict):
            raise TokenInvalidError("This is no stream token.")
        if claims.get("iss") != self._issuer or claims.get("aud") != GATEWAY:
            raise TokenInvalidError("The stream token is meant for somebody else.")
        return _checked(claims, now)


def _checked(claims: Mapping[str, Any], now: float) -> StreamClaims:
    subject, environment = claims.get("sub"), claims.get("env")
    organization, grant = claims.get("org"), claims.get("sid")
    issued_at, expires_at = claims.get("iat"), claims.get("exp")
    if not isinstance(subject, str) or not isinstance(environment, str):
        raise TokenInvalidError("The stream token lacks a claim.")
    if not isinstance(issued_at, int) or not isinstance(expires_at, int):
        raise TokenInvalidError("The stream token has no life.")
    if expires_at - issued_at > MAX_LIFE_SECONDS or issued_at > now + _CLOCK_SKEW_SECONDS:
        raise TokenInvalidError("The stream token has an impossible life.")
    return StreamClaims(
        subject=subject,
        environment=environment,
        organization=organization if isinstance(organization, str) else None,
        grant_id=grant if isinstance(grant, str) else None,
        issued_at=issued_at,
        expires_at=expires_at,
    )


def _derived(keys: PrincipalKeys, issuer: str) -> OctKey | None:
    """Derive a key of its own from the pair's: no principal is a stream token, no stream token a principal."""
    shared = keys.get(issuer, GATEWAY)
    if shared is None:
        return None
    return OctKey.import_key(derive_key(SecretStr(str(shared.as_dict(private=True)["k"])), "stream tokens"))
