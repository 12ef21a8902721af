"""Exchanging authorization codes for tokens."""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from undercroft.identity.domain.oauth.tokens import TokenPair, challenge_of, hash_secret
from undercroft.identity.domain.oauth.user_claims import subject_of
from undercroft.identity.errors.oauth import InvalidGrantError, ReusedError
from undercroft.identity.models.oauth import AuthorizationCode
from undercroft.identity.repository.oauth.codes import CodeRepository
from undercroft.identity.service.tokens import TokenRequest, TokenService

_NOT_VALID: Final = "The code is unknown, expired, used or another client's."
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True, slots=True)
class PresentedCode:
    """A code and what proves that it was meant for whoever presents it."""

    code: str
    redirect_uri: str | None
    verifier: str | None


class CodeService:
    """The use case behind `grant_type=authorization_code`."""

    def __init__(self, codes: CodeRepository, tokens: TokenService, *, clock: Callable[[], datetime]) -> None:
        self._codes = codes
        self._tokens = tokens
        self._clock = clock

    async def redeem(self, presented: PresentedCode, request: TokenRequest) -> TokenPair:
        """Return tokens for a code, once; a second use revokes what the first has led to.

        Raises `InvalidGrantError`, and `ReusedError` for the second use.
        """
        found = await self._codes.find_code(hash_secret(presented.code))
        if found is None or found[0].client_id != request.client.id:
            raise InvalidGrantError(_NOT_VALID)
        code, grant = found
        if code.used_at is not None:
            await self._tokens.revoke_grant(grant.id, actor=subject_of(grant.user_id))
            raise ReusedError("The code was used before; everything issued from it is revoked.")
        now = self._clock()
        if code.expires_at <= now:
            raise InvalidGrantError(_NOT_VALID)
        _check(code, presented, request)
        code.used_at = now
        if not request.client.is_confidential:  # RFC 9449 section 5: then the refresh token is bound too
            grant.dpop_thumbprint = request.thumbprint
        await self._codes.save()
        return await self._tokens.issue(grant, request, nonce=grant.nonce)


def _check(code: AuthorizationCode, presented: PresentedCode, request: TokenRequest) -> None:
    if presented.redirect_uri not in {None, code.redirect_uri}:
        raise InvalidGrantError("The code was sent to another address.")
    verifier = presented.verifier or ""
    is_proved = _VERIFIER.fullmatch(verifier) and hmac.compare_digest(
        challenge_of(verifier), code.code_challenge
    )
    if not is_proved:
        raise InvalidGrantError("The code_verifier does not fit.")
    if code.dpop_thumbprint not in {None, request.thumbprint}:
        raise InvalidGrantError("The code is bound to another key.")
