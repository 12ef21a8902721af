"""Reading our own tokens back: signature, type, issuer and life. Whether they were revoked is another question."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from undercroft.identity.domain.oauth.scopes import split
from undercroft.identity.domain.oauth.tokens import ACCESS_TOKEN_TYPE, ID_TOKEN_TYPE
from undercroft.identity.service.signing import KeyRing
from undercroft.shared.ids import TypeId
from undercroft.shared.jose import TokenInvalidError, read_token

_LONGEST: Final = 8_192
_MOST_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token of ours that has not expired."""

    claims: Mapping[str, Any]  # JSON, as it was signed

    @property
    def subject(self) -> str:
        """`sub`."""
        return cast("str", self.claims["sub"])

    @property
    def client_id(self) -> str:
        """`client_id`."""
        return cast("str", self.claims["client_id"])

    @property
    def jti(self) -> str:
        """`jti`."""
        return cast("str", self.claims["jti"])

    @property
    def expires_at(self) -> int:
        """`exp`."""
        return cast("int", self.claims["exp"])

    @property
    def scopes(self) -> frozenset[str]:
        """`scope`, split."""
        return split(self.claims["scope"])

    @property
    def grant_id(self) -> UUID | None:
        """`sid`, when the token is a person's."""
        sid = self.claims.get("sid")
        return None if sid is None else TypeId.parse(sid, expect="grt").uuid

    @property
    def thumbprint(self) -> str | None:
        """The key that the token is bound to (RFC 9449 section 6.1)."""
        confirmation = self.claims.get("cnf")
        return None if confirmation is None else cast("str", confirmation["jkt"])


class TokenReader:
    """Reads tokens; a signature that was checked once is remembered, because it never changes."""

    def __init__(self, ring: KeyRing, *, issuer: str, clock: Callable[[], datetime]) -> None:
        self._ring = ring
        self._issuer = issuer
        self._clock = clock
        self._checked: dict[str, AccessToken] = {}

    async def read_access_token(self, text: str) -> AccessToken | None:
        """Return an access token, None for anything else or an expired one."""
        token = self._checked.get(text)
        if token is None:
            claims = await self._read(text, ACCESS_TOKEN_TYPE)
            if claims is None:
                return None
            token = AccessToken(claims)
        if token.expires_at <= self._clock().timestamp():
            self._checked.pop(text, None)
            return None
        if len(self._checked) >= _MOST_REMEMBERED:
            self._checked.pop(next(iter(self._checked)))
        self._checked[text] = token
        return token

    async def read_id_token(self, text: str) -> Mapping[str, Any] | None:
        """Return the claims of an ID token, expired or not, None for anything else."""
        return await self._read(text, ID_TOKEN_TYPE.lower())

    async def _read(self, text: str, media_type: str) -> Mapping[str, Any] | None:
        try:
            token = read_token(text, media_type=media_type, max_length=_LONGEST)
            kid = token.header.get("kid")
            key = await self._ring.find(kid) if isinstance(kid, str) else None
            if key is None or key.algorithm != token.algorithm:
                return None
            token.verify(key.key)
        except TokenInvalidError:
            return None
        return token.claims if token.claims.get("iss") == self._issuer else None
