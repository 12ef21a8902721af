"""What can be done with organizations."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from undercroft.identity.errors.accounts import NotAPersonError
from undercroft.identity.errors.members import OperatorRequiredError
from undercroft.identity.errors.payload import refused_member
from undercroft.identity.events.organizations import organization_event
from undercroft.identity.models.organizations import Organization
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.memberships import MembershipRepository
from undercroft.identity.repository.organizations import OrganizationRepository
from undercroft.identity.schemas.organizations import OrganizationCreate, OrganizationRead, OrganizationUpdate
from undercroft.identity.service.founding import OrganizationFounder
from undercroft.identity.service.members import Authority, own_user_id
from undercroft.shared.auth import Principal
from undercroft.shared.pagination import Page, PageParams
from undercroft.shared.preconditions import check_if_match, etag_for


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationTools:
    """What organizations work with; `may_found` says whether people create organizations themselves."""

    organizations: OrganizationRepository
    memberships: MembershipRepository
    events: EventRepository
    founder: OrganizationFounder
    may_found: bool


class OrganizationService:
    """Use cases of organizations; who belongs to one sees that one, the operator sees all."""

    def __init__(self, tools: OrganizationTools, *, clock: Callable[[], datetime]) -> None:
        self._organizations = tools.organizations
        self._memberships = tools.memberships
        self._events = tools.events
        self._founder = tools.founder
        self._may_found = tools.may_found
        self._authority = Authority(tools.memberships)
        self._clock = clock

    async def create(self, new: OrganizationCreate, *, principal: Principal) -> Organization:
        """Create an organization; a person becomes its owner.

        Raises `ExternalKeyTakenError`, `NotAPersonError` for whoever is neither a person nor the operator, and
        `OperatorRequiredError` when people do not create organizations here.
        """
        if not principal.is_operator:
            return await self._found(new, principal)
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
        user_id = own_user_id(principal)
        if user_id is not None:
            return await self._organizations.list(
                page, among=await self._memberships.organizations_of(user_id)
            )
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
        """Delete an organization with its keys; every service hears of it and deletes what it holds.

        Raises `OwnerRequiredError` for whoever is neither an owner nor the operator.
        """
        organization = await self._get_locked(organization_id, principal=principal, if_match=if_match)
        await self._authority.require_owner(principal, organization_id)
        read = OrganizationRead.model_validate(organization)
        await self._organizations.remove(organization)
        await self._events.add(organization_event("deleted", read, actor=principal.subject))

    async def _found(self, new: OrganizationCreate, principal: Principal) -> Organization:
        user_id = own_user_id(principal)
        if user_id is None:
            raise NotAPersonError("Only a person or the operator creates organizations.")
        if not self._may_found:
            raise OperatorRequiredError("Only the operator creates organizations here.")
        if new.external_key is not None:
            raise refused_member("#/externalKey", "It is the operator's own name for it.", "operator_only")
        return await self._founder.found(new.name, owner=user_id)

    async def _get_locked(
        self, organization_id: UUID, *, principal: Principal, if_match: str | None
    ) -> Organization:
        principal.require_organization(organization_id)
        organization = await self._organizations.get_locked(organization_id)
        check_if_match(if_match, etag_for(organization.revision))
        return organization
