"""Issuing tokens for people: access tokens, ID tokens, and refresh tokens that change at each use."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from undercroft.identity.domain.oauth import audiences, scopes
from undercroft.identity.domain.oauth.clients import OWN_CLIENT, REFRESH_TOKEN, Client
from undercroft.identity.domain.oauth.tokens import (
    ACCESS_TOKEN_TYPE,
    ID_TOKEN_TYPE,
    AccessTokenSubject,
    TokenPair,
    TokenPolicy,
    access_claims,
    half_hash,
    hash_secret,
    new_secret,
)
from undercroft.identity.domain.oauth.user_claims import Person, claims_about, subject_of
from undercroft.identity.domain.sealing import SealBrokenError, Sealer
from undercroft.identity.domain.signing_keys import ACCESS_ALGORITHM
from undercroft.identity.errors.oauth import InvalidGrantError, ReusedError
from undercroft.identity.events.grants import grant_revoked
from undercroft.identity.models.sessions import Grant, RefreshToken
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.oauth.grants import GrantRepository
from undercroft.identity.repository.oauth.people import PeopleRepository, Place
from undercroft.identity.service.signing import KeyRing
from undercroft.shared.ids import TypeId, new_uuid7

_NOT_VALID: Final = "The refresh token is unknown, expired, revoked or another client's."


@dataclass(frozen=True, slots=True)
class TokenRepositories:
    """Where tokens are read and written."""

    grants: GrantRepository
    people: PeopleRepository
    events: EventRepository


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a client asks of the token endpoint besides the grant itself."""

    client: Client
    scope: str | None = None
    resources: Sequence[str] = field(default_factory=tuple)
    thumbprint: str | None = None


class TokenService:
    """Use cases of the tokens of people."""

    def __init__(
        self,
        repositories: TokenRepositories,
        ring: KeyRing,
        policy: TokenPolicy,
        sealer: Sealer,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._grants = repositories.grants
        self._people = repositories.people
        self._events = repositories.events
        self._ring = ring
        self._policy = policy
        self._sealer = sealer
        self._clock = clock

    async def issue_for_session(
        self,
        session_id: UUID,
        user_id: UUID,
        *,
        organization_id: UUID | None,
        methods: Sequence[str],
        authenticated_at: datetime,
    ) -> TokenPair:
        """Return the tokens of this service's own sign-in: they reach every organization of the person."""
        grant = Grant(
            id=new_uuid7(),
            user_id=user_id,
            client_id=None,
            session_id=session_id,
            organization_id=organization_id,
            scopes=sorted(scopes.OWN_SIGN_IN),
            requested_claims={},
            resources=[],
            methods=list(methods),
            authenticated_at=authenticated_at,
            expires_at=self._clock() + timedelta(seconds=self._policy.grant_seconds),
        )
        await self._grants.add(grant)
        return await self.issue(grant, TokenRequest(OWN_CLIENT))

    async def issue(self, grant: Grant, request: TokenRequest, *, nonce: str | None = None) -> TokenPair:
        """Return the first tokens of a grant; raises `InvalidGrantError` for a person who is disabled."""
        refresh_token = await self._new_refresh_token(grant) if _may_refresh(grant, request.client) else None
        return await self._pair(grant, request, refresh_token=refresh_token, nonce=nonce)

    async def refresh(self, token: str, request: TokenRequest) -> TokenPair:
        """Return new tokens for a refresh token, which is used up (RFC 9700 section 4.14.2).

        Whoever presents it again within the grace gets the same successor, unless that was used; later, everything
        of the grant is revoked and `ReusedError` raised. Raises `InvalidGrantError` and `InvalidScopeError`.
        """
        found = await self._grants.find_refresh_token(hash_secret(token))
        now = self._clock()
        if found is None:
            raise InvalidGrantError(_NOT_VALID)
        row, grant = found
        if grant.client_id != request.client.id or min(row.expires_at, grant.expires_at) <= now:
            raise InvalidGrantError(_NOT_VALID)
        if grant.dpop_thumbprint is not None and grant.dpop_thumbprint != request.thumbprint:
            raise InvalidGrantError("The refresh token is bound to another key.")
        scopes.narrowed(request.scope, grant.scopes)  # a refused request must not use the token up
        audiences.audience(request.resources, grant.resources, issuer=self._policy.issuer)
        successor = await self._successor(row, grant, now)
        return await self._pair(grant, request, refresh_token=successor, nonce=None)

    async def revoke_grant(self, grant_id: UUID, *, actor: str) -> None:
        """End a grant and every token that names it."""
        await self.tell_revoked(await self._grants.revoke(grant_id=grant_id), actor=actor)

    async def tell_revoked(self, revoked: Sequence[tuple[UUID, UUID, UUID | None]], *, actor: str) -> None:
        """Tell which grants ended; whoever remembers their tokens forgets them."""
        events = [
            grant_revoked(grant_id, user_id=user_id, organization_id=organization_id, actor=actor)
            for grant_id, user_id, organization_id in revoked
        ]
        await self._events.add(*events)

    async def _successor(self, row: RefreshToken, grant: Grant, now: datetime) -> str:
        if row.used_at is None:
            successor = await self._new_refresh_token(grant)
            row.used_at = now
            row.successor = self._sealer.seal(successor.encode(), place=row.token_hash)
            await self._grants.save()
            return successor
        if now - row.used_at <= timedelta(seconds=self._policy.grace_seconds):
            same = await self._same_successor(row)
            if same is not None:
                return same
        await self.revoke_grant(grant.id, actor=subject_of(grant.user_id))
        raise ReusedError("The refresh token was used before; everything issued from it is revoked.")

    async def _same_successor(self, row: RefreshToken) -> str | None:
        try:
            successor = self._sealer.open(row.successor or b"", place=row.token_hash).decode()
        except SealBrokenError:  # the deployable's secret key was changed within the grace
            return None
        found = await self._grants.find_refresh_token(hash_secret(successor), lock=False)
        return successor if found is not None and found[0].used_at is None else None

    async def _new_refresh_token(self, grant: Grant) -> str:
        token, now = new_secret(), self._clock()
        idle = now + timedelta(seconds=self._policy.refresh_token_idle_seconds)
        row = RefreshToken(
            token_hash=hash_secret(token), grant_id=grant.id, expires_at=min(idle, grant.expires_at)
        )
        await self._grants.add(row)
        return token

    async def _pair(
        self, grant: Grant, request: TokenRequest, *, refresh_token: str | None, nonce: str | None
    ) -> TokenPair:
        person = await self._people.find(grant.user_id)
        if person is None:
            raise InvalidGrantError("The account is disabled.")
        now = self._clock()
        granted = scopes.narrowed(request.scope, grant.scopes)
        subject = AccessTokenSubject(
            subject=subject_of(grant.user_id),
            client_id=request.client.client_id,
            audience=audiences.audience(request.resources, grant.resources, issuer=self._policy.issuer),
            scopes=granted,
            thumbprint=request.thumbprint,
            further=self._about(grant, await self._place(grant)),
        )
        key = await self._ring.signing_key(ACCESS_ALGORITHM)
        access_token = key.sign(access_claims(subject, self._policy, now), typ=ACCESS_TOKEN_TYPE)
        is_openid = scopes.OPENID in granted and request.client.id is not None
        return TokenPair(
            access_token=access_token,
            expires_in=self._policy.access_token_seconds,
            scope=scopes.join(granted),
            refresh_token=refresh_token,
            id_token=await self._id_token(grant, request.client, person, access_token, nonce=nonce)
            if is_openid
            else None,
            token_type="Bearer" if request.thumbprint is None else "DPoP",
        )

    def _about(self, grant: Grant, place: Place | None) -> Mapping[str, object]:
        about: dict[str, object] = {
            "sid": str(TypeId("grt", grant.id)),
            "auth_time": int(grant.authenticated_at.timestamp()),
            "amr": grant.methods,
        }
        if place is not None:
            about |= {"org": str(TypeId("org", place.organization_id)), "roles": [place.role]}
        return about

    async def _place(self, grant: Grant) -> Place | None:
        """Return the organization that a token is for: the grant's, else, for own sign-in, the first one joined."""
        places = await self._people.places(grant.user_id)
        bound = next((place for place in places if place.organization_id == grant.organization_id), None)
        if bound is None and grant.client_id is None and places:
            return places[0]
        return bound

    async def _id_token(
        self, grant: Grant, client: Client, person: Person, access_token: str, *, nonce: str | None
    ) -> str:
        issued_at = int(self._clock().timestamp())
        claims: dict[str, object] = {
            "iss": self._policy.issuer,
            "sub": subject_of(grant.user_id),
            "aud": client.client_id,
            "iat": issued_at,
            "exp": issued_at + self._policy.id_token_seconds,
            "auth_time": int(grant.authenticated_at.timestamp()),
            "amr": grant.methods,
            "at_hash": half_hash(access_token),
            "sid": str(TypeId("grt", grant.id)),
            **claims_about(person, grant.scopes, grant.requested_claims, place="id_token"),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        key = await self._ring.signing_key(client.id_token_algorithm)
        return key.sign(claims, typ=ID_TOKEN_TYPE)


def _may_refresh(grant: Grant, client: Client) -> bool:
    """Tell whether a client gets refresh tokens: in OpenID Connect only with `offline_access` (Core section 11)."""
    if REFRESH_TOKEN not in client.grant_types:
        return False
    return client.id is None or scopes.OPENID not in grant.scopes or scopes.OFFLINE_ACCESS in grant.scopes
