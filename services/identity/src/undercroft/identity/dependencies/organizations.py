"""How routes come by the use cases of organizations."""

from typing import Annotated

from fastapi import Depends

from undercroft.identity.dependencies.callers import utc_now
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.organizations import OrganizationRepository
from undercroft.identity.service.organizations import OrganizationService
from undercroft.shared.db import SessionDep


async def organization_service(session: SessionDep) -> OrganizationService:
    """Build the use cases of organizations for one request."""
    return OrganizationService(OrganizationRepository(session), EventRepository(session), clock=utc_now)


OrganizationServiceDep = Annotated[OrganizationService, Depends(organization_service)]
