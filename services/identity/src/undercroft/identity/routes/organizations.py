"""`/v1/organizations`."""

from fastapi import APIRouter, Response

from undercroft.identity.dependencies.callers import Founder, IfMatch, OwnReader, Reader, Writer
from undercroft.identity.dependencies.organizations import OrganizationServiceDep
from undercroft.identity.models.organizations import Organization
from undercroft.identity.schemas.organizations import (
    OrganizationCreate,
    OrganizationId,
    OrganizationPage,
    OrganizationRead,
    OrganizationUpdate,
)
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.ids import TypeId
from undercroft.shared.pagination import PageParamsDep
from undercroft.shared.preconditions import etag_for

router = APIRouter(prefix="/v1/organizations", tags=["organizations"], route_class=ServiceRoute)


@router.post("", status_code=201)
async def create_organization(
    body: OrganizationCreate, principal: Founder, service: OrganizationServiceDep, response: Response
) -> OrganizationRead:
    """Create an organization; as a person you become its owner, if people may create organizations here."""
    organization = await service.create(body, principal=principal)
    response.headers["Location"] = f"{router.prefix}/{TypeId('org', organization.id)}"
    return _show(organization, response)


@router.get("")
async def list_organizations(
    principal: OwnReader,
    service: OrganizationServiceDep,
    page: PageParamsDep,
) -> OrganizationPage:
    """List the organizations that you may see, oldest first."""
    return OrganizationPage.of(await service.list(page, principal=principal))


@router.get("/{organization_id}")
async def get_organization(
    organization_id: OrganizationId, principal: Reader, service: OrganizationServiceDep, response: Response
) -> OrganizationRead:
    """Read an organization."""
    return _show(await service.get(organization_id, principal=principal), response)


@router.patch("/{organization_id}")
async def update_organization(
    organization_id: OrganizationId,
    body: OrganizationUpdate,
    *,
    principal: Writer,
    service: OrganizationServiceDep,
    response: Response,
    if_match: IfMatch = None,
) -> OrganizationRead:
    """Change an organization; members that are absent stay as they are."""
    organization = await service.update(organization_id, body, principal=principal, if_match=if_match)
    return _show(organization, response)


@router.delete("/{organization_id}", status_code=204)
async def delete_organization(
    organization_id: OrganizationId,
    principal: Writer,
    service: OrganizationServiceDep,
    if_match: IfMatch = None,
) -> None:
    """Delete an organization and its API keys, which stop working at once. For its owners and the operator."""
    await service.delete(organization_id, principal=principal, if_match=if_match)


def _show(organization: Organization, response: Response) -> OrganizationRead:
    response.headers["ETag"] = etag_for(organization.revision)
    return OrganizationRead.model_validate(organization)
