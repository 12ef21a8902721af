"""Stream tokens: made by the service that announced the stream, worth what identity says of their subject now."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from undercroft.gateway.auth.credentials import Credential, Presented
from undercroft.gateway.auth.resolving import AccessSource, TokenResolver
from undercroft.gateway.auth.tokens import AccessToken
from undercroft.gateway.errors import CredentialsExpiredError, CredentialsInvalidError
from undercroft.shared.auth import Scope
from undercroft.shared.jose import TokenInvalidError
from undercroft.shared.stream_tokens import StreamTokenReader

# All that a stream token is good for, whatever its subject may do.
_SCOPES: Final = frozenset({str(Scope.FLAGS_EVALUATE)})
_NOT_REVOKED_ALONE: Final = "stream"  # identity knows no such token: its subject, grant or key is revoked


class StreamTokenVerifier:
    """Verifies the tokens of one service."""

    def __init__(self, reader: StreamTokenReader, *, clock: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._clock = clock

    async def verify(self, text: str) -> AccessToken:
        """Return what a token says as an access token's claims.

        Raises `CredentialsInvalidError`, and `CredentialsExpiredError` for one that is over.
        """
        now = self._clock()
        try:
            claims = self._reader.read(text, now=now)
        except TokenInvalidError as error:
            raise CredentialsInvalidError(str(error)) from error
        if now >= claims.expires_at:
            raise CredentialsExpiredError
        return AccessToken(
            subject=claims.subject,
            client_id="",
            token_id=_NOT_REVOKED_ALONE,
            key_id="",
            expires_at=claims.expires_at,
            scopes=_SCOPES,
            grant_id=claims.grant_id,
            organization=claims.organization,
            environment=claims.environment,
            thumbprint=None,
        )


class StreamTokenResolver:
    """Finds out what a stream token opens."""

    def __init__(
        self, verifier: StreamTokenVerifier, source: AccessSource, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._resolver = TokenResolver(verifier, source, clock=clock)

    async def resolve(self, presented: Presented) -> Credential:
        """Verify a token and ask identity what its subject may do now."""
        credential = await self._resolver.resolve(presented)
        return replace(credential, tags=tuple(filter(None, credential.tags)), only_opens=True)
