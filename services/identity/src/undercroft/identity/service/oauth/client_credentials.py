"""Tokens of clients that speak for themselves; nothing is read or written for one."""

from collections.abc import Callable
from datetime import datetime

from undercroft.identity.domain.oauth import audiences, scopes
from undercroft.identity.domain.oauth.tokens import (
    ACCESS_TOKEN_TYPE,
    AccessTokenSubject,
    TokenPair,
    TokenPolicy,
    access_claims,
)
from undercroft.identity.domain.signing_keys import ACCESS_ALGORITHM
from undercroft.identity.service.signing import KeyRing
from undercroft.identity.service.tokens import TokenRequest
from undercroft.shared.ids import TypeId


class ClientCredentialsService:
    """The use case behind `grant_type=client_credentials`."""

    def __init__(self, ring: KeyRing, policy: TokenPolicy, *, clock: Callable[[], datetime]) -> None:
        self._ring = ring
        self._policy = policy
        self._clock = clock

    async def issue(self, request: TokenRequest) -> TokenPair:
        """Return an access token; raises `InvalidScopeError` and `InvalidTargetError`."""
        client, policy = request.client, self._policy
        granted = scopes.own(request.scope, client.scopes)
        resources = audiences.requested(request.resources, policy.known_resources)
        organization = client.organization_id
        subject = AccessTokenSubject(
            subject=client.client_id,
            client_id=client.client_id,
            audience=audiences.audience(resources, resources, issuer=policy.issuer),
            scopes=granted,
            thumbprint=request.thumbprint,
            further={} if organization is None else {"org": str(TypeId("org", organization))},
        )
        key = await self._ring.signing_key(ACCESS_ALGORITHM)
        token = key.sign(access_claims(subject, policy, self._clock()), typ=ACCESS_TOKEN_TYPE)
        return TokenPair(
            access_token=token,
            expires_in=policy.access_token_seconds,
            scope=scopes.join(granted),
            token_type="Bearer" if request.thumbprint is None else "DPoP",
        )
