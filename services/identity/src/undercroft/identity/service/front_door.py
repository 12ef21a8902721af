"""`POST /v1/sessions`: whichever way somebody signs in, a session and its first tokens."""

from dataclasses import dataclass

from undercroft.identity.domain.oauth.tokens import TokenPair
from undercroft.identity.domain.sign_in import Device
from undercroft.identity.domain.signing_keys import ACCESS_ALGORITHM
from undercroft.identity.schemas.sessions import SessionCreate
from undercroft.identity.service.passkeys import PasskeyService
from undercroft.identity.service.sign_in import SecondFactorCode, SignedInUser, SignInService
from undercroft.identity.service.signing import KeyRing
from undercroft.identity.service.tokens import TokenService


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """Opens a session by password or passkey, and issues tokens for it."""

    sign_in: SignInService
    passkeys: PasskeyService
    tokens: TokenService
    ring: KeyRing

    async def enter(self, given: SessionCreate, *, device: Device) -> tuple[SignedInUser, TokenPair]:
        """Sign somebody in; raises what `SignInService.sign_in` and `PasskeyService.sign_in` raise."""
        # Loading keys takes a connection: whoever held one already would wait for themselves in a storm.
        await self.ring.signing_key(ACCESS_ALGORITHM)
        if given.passkey is not None:
            signed_in = await self.passkeys.sign_in(
                state=given.passkey.state, credential=given.passkey.credential, device=device
            )
        else:
            code = SecondFactorCode(totp=given.totp, recovery_code=given.recovery_code)
            signed_in = await self.sign_in.sign_in(given, code, device=device)
        session = signed_in.session
        pair = await self.tokens.issue_for_session(
            session.id,
            session.user_id,
            organization_id=given.organization_id,
            methods=session.methods,
            authenticated_at=session.authenticated_at,
        )
        return signed_in, pair
