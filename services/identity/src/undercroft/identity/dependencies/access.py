"""How `POST /internal/access` comes by its use case."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from undercroft.identity.repository.access import AccessRepository
from undercroft.identity.service.access import AccessService
from undercroft.shared.db import get_database


async def access_service(request: Request) -> AsyncIterator[AccessService]:
    """Build the use case for one request; it reads one row and needs no transaction."""
    async with get_database(request).read() as session:
        yield AccessService(AccessRepository(session), clock=request.app.state.clock)


AccessServiceDep = Annotated[AccessService, Depends(access_service, scope="function")]
