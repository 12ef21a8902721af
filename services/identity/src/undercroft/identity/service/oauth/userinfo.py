"""Telling a client about the person that it acts for (OpenID Connect Core section 5.3)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from undercroft.identity.domain.oauth.scopes import OPENID
from undercroft.identity.domain.oauth.user_claims import claims_about, subject_of
from undercroft.identity.errors.oauth import BearerScopeError, BearerTokenError
from undercroft.identity.repository.access import AccessRepository
from undercroft.identity.repository.oauth.grants import GrantRepository
from undercroft.identity.repository.oauth.people import PeopleRepository
from undercroft.identity.service.oauth.access_tokens import AccessToken, TokenReader

_NOT_VALID: Final = "The access token is expired, revoked, malformed or for somebody else."


class UserinfoService:
    """The use case behind `/oauth/userinfo`."""

    def __init__(
        self,
        access: AccessRepository,
        grants: GrantRepository,
        people: PeopleRepository,
        reader: TokenReader,
        *,
        issuer: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._access = access
        self._grants = grants
        self._people = people
        self._reader = reader
        self._issuer = issuer
        self._clock = clock

    async def read(self, text: str) -> AccessToken:
        """Return a token that this endpoint accepts; raises `BearerTokenError`."""
        token = await self._reader.read_access_token(text)
        if token is None or self._issuer not in token.claims["aud"]:
            raise BearerTokenError(_NOT_VALID)
        return token

    async def tell(self, token: AccessToken) -> Mapping[str, object]:
        """Return the claims that a token discloses; raises `BearerTokenError` and `BearerScopeError`."""
        if OPENID not in token.scopes or token.grant_id is None:
            raise BearerScopeError("This needs the scope openid.", scope=OPENID)
        standing = await self._access.find_grant(token.grant_id, jti=token.jti)
        if standing is None or standing.is_token_revoked or standing.has_ended(self._clock()):
            raise BearerTokenError(_NOT_VALID)
        grant = await self._grants.find(token.grant_id)
        person = await self._people.find(standing.user_id)
        if grant is None or person is None:  # pragma: no cover  they ended between two statements
            raise BearerTokenError(_NOT_VALID)
        told = claims_about(person, token.scopes, grant.requested_claims, place="userinfo")
        return {"sub": subject_of(person.id), **told}
