"""How routes come by the use cases of organizations."""

from typing import Annotated

from fastapi import Depends

from undercroft.identity.dependencies.accounts import WiringDep
from undercroft.identity.service.organizations import OrganizationService, OrganizationTools


async def organization_service(wiring: WiringDep) -> OrganizationService:
    """Build the use cases of organizations for one request."""
    tools = OrganizationTools(
        organizations=wiring.organizations,
        memberships=wiring.memberships,
        events=wiring.events,
        founder=wiring.founder,
        may_found=wiring.settings.organization_creation == "open",
    )
    return OrganizationService(tools, clock=wiring.clock)


OrganizationServiceDep = Annotated[OrganizationService, Depends(organization_service)]
