"""Deleting somebody: never while an organization would be left without an owner."""

from dataclasses import dataclass
from uuid import UUID

from undercroft.identity.domain.roles import Role
from undercroft.identity.errors.accounts import SoleOwnerError
from undercroft.identity.events.members import member_event
from undercroft.identity.events.users import user_event
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.memberships import MembershipRepository
from undercroft.identity.repository.organizations import OrganizationRepository
from undercroft.identity.repository.users import UserRepository
from undercroft.identity.service.sessions import SessionService
from undercroft.shared.ids import TypeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Departures:
    """Takes people out of everything they belong to, then deletes them."""

    users: UserRepository
    memberships: MembershipRepository
    organizations: OrganizationRepository
    events: EventRepository
    sessions: SessionService

    async def delete(self, user_id: UUID, *, actor: str) -> None:
        """Delete a user; raises `UserNotFoundError` and `SoleOwnerError`."""
        # Organizations are locked first and in order of their ids, as everybody does who changes members.
        alone = []
        for organization_id in await self.memberships.organizations_of(user_id):
            await self.organizations.get_locked(organization_id)
            membership = await self.memberships.find(organization_id, user_id)
            if membership is None:
                continue
            owners = await self.memberships.count_owners(organization_id)
            if membership.role == Role.OWNER and owners == 1:
                alone.append(str(TypeId("org", organization_id)))
        if alone:
            raise SoleOwnerError(
                "Organizations would be left without an owner: make somebody else one, or delete them first.",
                extensions={"organizations": alone},
            )
        user = await self.users.get_locked(user_id)
        await self.sessions.end_everything(user_id, actor=actor)
        for belonging in await self.memberships.list_of_user(user_id, limit=10_000):
            membership = belonging.membership
            await self.events.add(
                member_event(
                    "removed",
                    organization_id=membership.organization_id,
                    user_id=user_id,
                    role=membership.role,
                    actor=actor,
                )
            )
        await self.users.remove(user)
        await self.events.add(user_event("deleted", user_id, actor=actor))
