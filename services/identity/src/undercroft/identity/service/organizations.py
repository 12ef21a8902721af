"""What can be done with organizations."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from undercroft.identity.events.organizations import organization_event
from undercroft.identity.models.organizations import Organization
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.organizations import OrganizationRepository
from undercroft.identity.schemas.organizations import OrganizationCreate, OrganizationRead, OrganizationUpdate
from undercroft.shared.auth import Principal
from undercroft.shared.pagination import Page, PageParams
from undercroft.shared.preconditions import check_if_match, etag_for


class OrganizationService:
    """Use cases of organizations; who belongs to one sees that one, the operator sees all."""

    def __init__(
        self, organizations: OrganizationRepository, events: EventRepository, *, clock: Callable[[], datetime]
    ) -> None:
        self._organizations = organizations
        self._events = events
        self._clock = clock

    async def create(self, new: OrganizationCreate, *, principal: Principal) -> Organization:
        """Create an organization; raises `ExternalKeyTakenError`."""
        organization = Organization(name=new.name, external_key=new.external_key)
        await self._organizations.add(organization)
        read = OrganizationRead.model_validate(organization)
        await self._events.add(organization_event("created", read, actor=principal.subject))
        return organization

    async def get(self, organization_id: UUID, *, principal: Principal) -> Organization:
        """Return an organization; raises `OrganizationNotFoundError`, also for somebody else's."""
        principal.require_organization(organization_id)
        return await self._organizations.get(organization_id)

    async def list(self, page: PageParams, *, principal: Principal) -> Page[Organization]:
        """Return a page of the organizations that the caller may see."""
        own = principal.organization_id
        if own is None:
            return await self._organizations.list(page, among=None if principal.is_operator else ())
        return await self._organizations.list(page, among=(own,))

    async def update(
        self, organization_id: UUID, change: OrganizationUpdate, *, principal: Principal, if_match: str | None
    ) -> Organization:
        """Change what the body names; raises `PreconditionFailedError` and `ExternalKeyTakenError`."""
        organization = await self._get_locked(organization_id, principal=principal, if_match=if_match)
        values = change.model_dump(include=change.model_fields_set, by_alias=False)
        if any(getattr(organization, name) != value for name, value in values.items()):
            for name, value in values.items():
                setattr(organization, name, value)
            organization.revision += 1
            organization.updated_at = self._clock()
            await self._organizations.save()
            read = OrganizationRead.model_validate(organization)
            await self._events.add(organization_event("updated", read, actor=principal.subject))
        return organization

    async def delete(self, organization_id: UUID, *, principal: Principal, if_match: str | None) -> None:
        """Delete an organization with its keys; every service hears of it and deletes what it holds."""
        organization = await self._get_locked(organization_id, principal=principal, if_match=if_match)
        read = OrganizationRead.model_validate(organization)
        await self._organizations.remove(organization)
        await self._events.add(organization_event("deleted", read, actor=principal.subject))

    async def _get_locked(
        self, organization_id: UUID, *, principal: Principal, if_match: str | None
    ) -> Organization:
        principal.require_organization(organization_id)
        organization = await self._organizations.get_locked(organization_id)
        check_if_match(if_match, etag_for(organization.revision))
        return organization
