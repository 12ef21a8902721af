"""How routes come by passkeys and one-time codes."""

from typing import Annotated

from fastapi import Depends

from undercroft.identity.dependencies.accounts import Wiring, WiringDep
from undercroft.identity.repository.passkeys import PasskeyRepository
from undercroft.identity.service.passkeys import PasskeyPolicy, PasskeyService, PasskeyTools
from undercroft.identity.service.totp import TotpService, TotpTools


def passkey_service_of(wiring: Wiring) -> PasskeyService:
    """Build the use cases of passkeys in a transaction."""
    settings = wiring.settings
    tools = PasskeyTools(
        passkeys=PasskeyRepository(wiring.session),
        users=wiring.users,
        events=wiring.events,
        postbox=wiring.postbox,
        attempts=wiring.attempts,
        sealer=wiring.state.passkey_sealer,
        sessions=wiring.sessions,
        sign_in=wiring.sign_in,
    )
    policy = PasskeyPolicy(settings.issuer, settings.branding_name, settings.max_passkeys)
    return PasskeyService(tools, policy, clock=wiring.clock)


async def passkey_service(wiring: WiringDep) -> PasskeyService:
    """Build the use cases of passkeys for one request."""
    return passkey_service_of(wiring)


def totp_service_of(wiring: Wiring) -> TotpService:
    """Build the use cases of one-time codes in a transaction."""
    tools = TotpTools(
        users=wiring.users,
        events=wiring.events,
        postbox=wiring.postbox,
        factors=wiring.factors,
        passwords=wiring.passwords,
        sessions=wiring.sessions,
    )
    return TotpService(tools, brand=wiring.settings.branding_name, clock=wiring.clock)


async def totp_service(wiring: WiringDep) -> TotpService:
    """Build the use cases of one-time codes for one request."""
    return totp_service_of(wiring)


PasskeyServiceDep = Annotated[PasskeyService, Depends(passkey_service)]
TotpServiceDep = Annotated[TotpService, Depends(totp_service)]
