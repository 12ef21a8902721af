"""Telling clients about tokens (RFC 7662), and ending tokens for them (RFC 7009)."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from undercroft.identity.domain.oauth.clients import OWN_CLIENT, Client
from undercroft.identity.domain.oauth.scopes import join
from undercroft.identity.domain.oauth.tokens import hash_secret
from undercroft.identity.domain.oauth.user_claims import subject_of
from undercroft.identity.errors.oauth import UnauthorizedClientError, UnsupportedTokenTypeError
from undercroft.identity.events.grants import access_token_revoked
from undercroft.identity.models.sessions import Grant
from undercroft.identity.repository.access import AccessRepository
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.oauth.grants import GrantRepository
from undercroft.identity.repository.oauth.people import PeopleRepository
from undercroft.identity.service.oauth.access_tokens import AccessToken, TokenReader
from undercroft.identity.service.tokens import TokenService
from undercroft.shared.auth import Scope
from undercroft.shared.ids import InvalidIdError, TypeId

Members = Mapping[str, object]

_TOLD: Final = (
    "scope", "client_id", "exp", "iat", "sub", "aud", "iss", "jti", "sid", "org", "roles", "env", "auth_time", "amr", "cnf",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RefreshTokenRows:
    """Where refresh tokens are looked up."""

    grants: GrantRepository
    people: PeopleRepository


OpenRefreshTokens = Callable[[], AbstractAsyncContextManager[RefreshTokenRows]]


class IntrospectionService:
    """The use case behind `POST /oauth/introspect`; about an access token it reads one row."""

    def __init__(
        self,
        access: AccessRepository,
        open_refresh_tokens: OpenRefreshTokens,
        reader: TokenReader,
        *,
        issuer: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._access = access
        self._open_refresh_tokens = open_refresh_tokens
        self._reader = reader
        self._issuer = issuer
        self._clock = clock

    async def introspect(self, text: str, caller: Client) -> Members | None:
        """Return what a token is, None when it is dead or not the caller's business."""
        token = await self._reader.read_access_token(text)
        if token is not None:
            return await self._access_token(token, caller)
        return await self._refresh_token(text, caller)

    async def _access_token(self, token: AccessToken, caller: Client) -> Members | None:
        if not _concerns(caller, token.client_id, token.claims.get("org")):
            return None
        standing = await self.is_alive(token)
        if standing is None:
            return None
        told = {name: token.claims[name] for name in _TOLD if name in token.claims}
        return {
            "active": True,
            "token_type": "Bearer" if token.thumbprint is None else "DPoP",
            "nbf": token.claims["iat"],
            **told,
            **({"username": standing} if standing else {}),
        }

    async def is_alive(self, token: AccessToken) -> str | None:
        """Return the name of whom a token speaks for, empty without one; None when what it was issued for has ended."""
        if token.grant_id is not None:
            grant = await self._access.find_grant(token.grant_id, jti=token.jti)
            if grant is None or grant.is_token_revoked or grant.has_ended(self._clock()):
                return None
            return grant.username
        try:
            subject = TypeId.parse(token.subject)
        except InvalidIdError:  # pragma: no cover  we signed it
            return None
        if subject.prefix == "client":
            client = await self._access.find_client(subject.uuid, jti=token.jti)
            return None if client is None or client.is_token_revoked else ""
        key = await self._access.find_key(subject.uuid, jti=token.jti)
        return None if key is None or key.is_token_revoked or key.has_ended(self._clock()) else ""

    async def _refresh_token(self, text: str, caller: Client) -> Members | None:
        async with self._open_refresh_tokens() as rows:
            found = await rows.grants.find_refresh_token(hash_secret(text), lock=False)
            if found is None:
                return None
            row, grant = found
            expires_at = min(row.expires_at, grant.expires_at)
            if row.used_at is not None or expires_at <= self._clock() or not _concerns_grant(caller, grant):
                return None
            person = await rows.people.find(grant.user_id)
        if person is None:
            return None
        return {
            "active": True,
            "scope": join(grant.scopes),
            "client_id": _client_id_of(grant),
            "username": person.email,
            "sub": subject_of(grant.user_id),
            "iss": self._issuer,
            "iat": int(row.created_at.timestamp()),
            "exp": int(expires_at.timestamp()),
        }


class RevocationService:
    """The use case behind `POST /oauth/revoke`."""

    def __init__(
        self, grants: GrantRepository, events: EventRepository, reader: TokenReader, tokens: TokenService
    ) -> None:
        self._grants = grants
        self._events = events
        self._reader = reader
        self._tokens = tokens

    async def revoke(self, text: str, caller: Client) -> None:
        """End a token of the caller; with a refresh token everything that its grant has led to.

        Unknown tokens are no error. Raises `UnauthorizedClientError` when a confidential client presents another's,
        and `UnsupportedTokenTypeError` for ID tokens.
        """
        token = await self._reader.read_access_token(text)
        if token is not None:
            await self._revoke_access_token(token, caller)
            return
        found = await self._grants.find_refresh_token(hash_secret(text))
        if found is not None:
            grant = found[1]
            if _is_own(caller, _client_id_of(grant)):
                await self._tokens.revoke_grant(grant.id, actor=caller.client_id)
        elif await self._reader.read_id_token(text) is not None:
            raise UnsupportedTokenTypeError("ID tokens cannot be revoked.")

    async def _revoke_access_token(self, token: AccessToken, caller: Client) -> None:
        if not _is_own(caller, token.client_id):
            return
        expires_at = datetime.fromtimestamp(token.expires_at, UTC)
        if await self._grants.revoke_token(token.jti, expires_at):
            await self._events.add(access_token_revoked(token.jti, actor=caller.client_id))


def _is_own(caller: Client, client_id: str) -> bool:
    """Tell whether a token is the caller's; a confidential client learns that it is not, a public one nothing."""
    if client_id != caller.client_id and caller.is_confidential:
        raise UnauthorizedClientError("The token is not of this client.")
    return client_id == caller.client_id


def _concerns(caller: Client, client_id: str, organization: object) -> bool:
    """Tell whether a client may know of a token: its own, or, as a resource server, those of its organization.

    A resource server is registered for `identity:read`; the operator's see every token.
    """
    if client_id == caller.client_id:
        return True
    if Scope.IDENTITY_READ not in caller.scopes and Scope.OPERATOR not in caller.scopes:
        return False
    own = caller.organization_id
    return own is None or organization == str(TypeId("org", own))


def _concerns_grant(caller: Client, grant: Grant) -> bool:
    """Tell whether a refresh token is the caller's; nobody else has any business with one."""
    return _client_id_of(grant) == caller.client_id


def _client_id_of(grant: Grant) -> str:
    return OWN_CLIENT.client_id if grant.client_id is None else str(TypeId("client", grant.client_id))
