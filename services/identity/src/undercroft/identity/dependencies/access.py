"""How `POST /internal/access` comes by its use case."""

from typing import Annotated

from fastapi import Depends, Request

from undercroft.identity.repository.access import AccessRepository
from undercroft.identity.service.access import AccessService


async def access_service(request: Request) -> AccessService:
    """Build the use case for one request; it reads one row and needs no transaction."""
    state = request.app.state
    return AccessService(AccessRepository(state.reads), clock=state.clock)


AccessServiceDep = Annotated[AccessService, Depends(access_service)]
