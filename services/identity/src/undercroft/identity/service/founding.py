"""Founding an organization as a person: it begins with its owner."""

from uuid import UUID

from undercroft.identity.domain.roles import Role
from undercroft.identity.events.members import member_event
from undercroft.identity.events.organizations import organization_event
from undercroft.identity.events.users import user_subject
from undercroft.identity.models.organizations import Membership, Organization
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.memberships import MembershipRepository
from undercroft.identity.repository.organizations import OrganizationRepository
from undercroft.identity.schemas.organizations import OrganizationRead


class OrganizationFounder:
    """Makes organizations that belong to somebody from the start."""

    def __init__(
        self,
        organizations: OrganizationRepository,
        memberships: MembershipRepository,
        events: EventRepository,
    ) -> None:
        self._organizations = organizations
        self._memberships = memberships
        self._events = events

    async def found(self, name: str, *, owner: UUID) -> Organization:
        """Create an organization with one owner."""
        organization = Organization(name=name)
        await self._organizations.add(organization)
        await self._memberships.add(
            Membership(organization_id=organization.id, user_id=owner, role=Role.OWNER)
        )
        actor = user_subject(owner)
        await self._events.add(
            organization_event("created", OrganizationRead.model_validate(organization), actor=actor),
            member_event(
                "added", organization_id=organization.id, user_id=owner, role=Role.OWNER, actor=actor
            ),
        )
        return organization
