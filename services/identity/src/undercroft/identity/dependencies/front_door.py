"""How `POST /v1/sessions` comes by its use case."""

from typing import Annotated

from fastapi import Depends

from undercroft.identity.dependencies.accounts import WiringDep
from undercroft.identity.dependencies.passkeys import PasskeyServiceDep
from undercroft.identity.dependencies.tokens import TokenServiceDep
from undercroft.identity.service.front_door import FrontDoor


async def front_door(wiring: WiringDep, passkeys: PasskeyServiceDep, tokens: TokenServiceDep) -> FrontDoor:
    """Build the use case for one request."""
    return FrontDoor(wiring.sign_in, passkeys, tokens, wiring.state.key_ring)


FrontDoorDep = Annotated[FrontDoor, Depends(front_door)]
