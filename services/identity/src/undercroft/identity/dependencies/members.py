"""How routes come by members and invitations."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends

from undercroft.identity.dependencies.accounts import Wiring, WiringDep
from undercroft.identity.repository.invitations import InvitationRepository
from undercroft.identity.schemas.organizations import OrganizationId
from undercroft.identity.schemas.users import UserId
from undercroft.identity.service.invitations import InvitationPolicy, InvitationService, InvitationTools
from undercroft.identity.service.members import MemberService


async def member_place(organization_id: OrganizationId, user_id: UserId) -> tuple[UUID, UUID]:
    """Return which member a path names."""
    return organization_id, user_id


async def member_service(wiring: WiringDep) -> MemberService:
    """Build the use cases of members for one request."""
    return MemberService(wiring.memberships, wiring.organizations, wiring.events, clock=wiring.clock)


def invitation_service_of(wiring: Wiring) -> InvitationService:
    """Build the use cases of invitations in a transaction."""
    settings = wiring.settings
    tools = InvitationTools(
        invitations=InvitationRepository(wiring.session),
        memberships=wiring.memberships,
        organizations=wiring.organizations,
        users=wiring.users,
        events=wiring.events,
        postbox=wiring.postbox,
        attempts=wiring.attempts,
        registrations=wiring.registrations,
    )
    policy = InvitationPolicy(
        life=timedelta(days=settings.invitation_life_days),
        most=settings.max_invitations,
        limit=wiring.limit("registration", settings.free_attempts_per_address),
    )
    return InvitationService(tools, policy, clock=wiring.clock)


async def invitation_service(wiring: WiringDep) -> InvitationService:
    """Build the use cases of invitations for one request."""
    return invitation_service_of(wiring)


MemberPlace = Annotated[tuple[UUID, UUID], Depends(member_place)]
MemberServiceDep = Annotated[MemberService, Depends(member_service)]
InvitationServiceDep = Annotated[InvitationService, Depends(invitation_service)]
