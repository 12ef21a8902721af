"""`/v1/organizations/{organization_id}/members` and `/invitations`, and what an invitation's link opens."""

from fastapi import APIRouter, Response

from undercroft.identity.dependencies.accounts import PersonDep
from undercroft.identity.dependencies.callers import IfMatch, Reader, Writer
from undercroft.identity.dependencies.members import InvitationServiceDep, MemberPlace, MemberServiceDep
from undercroft.identity.schemas.members import (
    InvitationAccepted,
    InvitationCreate,
    InvitationId,
    InvitationPage,
    InvitationRead,
    InvitationSeen,
    MemberPage,
    MemberRead,
    MemberUpdate,
)
from undercroft.identity.schemas.organizations import OrganizationId
from undercroft.identity.schemas.users import LinkToken
from undercroft.shared.auth import public
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.ids import TypeId
from undercroft.shared.pagination import PageParamsDep
from undercroft.shared.preconditions import etag_for

members = APIRouter(
    prefix="/v1/organizations/{organization_id}/members", tags=["members"], route_class=ServiceRoute
)
member = APIRouter(
    prefix="/v1/organizations/{organization_id}/members/{user_id}", tags=["members"], route_class=ServiceRoute
)
invitations = APIRouter(
    prefix="/v1/organizations/{organization_id}/invitations", tags=["invitations"], route_class=ServiceRoute
)
invitation_links = APIRouter(prefix="/v1/invitations", tags=["invitations"], route_class=ServiceRoute)


@members.get("")
async def list_members(
    organization_id: OrganizationId, principal: Reader, service: MemberServiceDep, page: PageParamsDep
) -> MemberPage:
    """List the members of an organization."""
    return MemberPage.of(await service.list(page, organization_id=organization_id, principal=principal))


@member.get("")
async def get_member(
    place: MemberPlace, principal: Reader, service: MemberServiceDep, response: Response
) -> MemberRead:
    """Read a member."""
    read, revision = await service.get(place, principal=principal)
    response.headers["ETag"] = etag_for(revision)
    return read


@member.patch("")
async def change_role(
    place: MemberPlace,
    body: MemberUpdate,
    *,
    principal: Writer,
    service: MemberServiceDep,
    response: Response,
    if_match: IfMatch = None,
) -> MemberRead:
    """Change a member's role. Only an owner appoints owners or takes that from them; one always remains."""
    await service.change_role(place, body.role, principal=principal, if_match=if_match)
    read, revision = await service.get(place, principal=principal)
    response.headers["ETag"] = etag_for(revision)
    return read


@member.delete("", status_code=204)
async def remove_member(
    place: MemberPlace, principal: Reader, service: MemberServiceDep, if_match: IfMatch = None
) -> None:
    """Remove a member (`identity:write`), or leave. The last owner stays."""
    await service.remove(place, principal=principal, if_match=if_match)


@invitations.post("", status_code=201)
async def invite(
    organization_id: OrganizationId,
    body: InvitationCreate,
    principal: Writer,
    service: InvitationServiceDep,
    response: Response,
) -> InvitationRead:
    """Invite somebody by mail. Only an owner invites owners."""
    invitation = await service.create(organization_id, body, principal=principal)
    path = f"/v1/organizations/{TypeId('org', organization_id)}/invitations"
    response.headers["Location"] = f"{path}/{TypeId('inv', invitation.id)}"
    return InvitationRead.model_validate(invitation)


@invitations.get("")
async def list_invitations(
    organization_id: OrganizationId, principal: Reader, service: InvitationServiceDep, page: PageParamsDep
) -> InvitationPage:
    """List open invitations, oldest first."""
    return InvitationPage.of(await service.list(page, organization_id=organization_id, principal=principal))


@invitations.delete("/{invitation_id}", status_code=204)
async def withdraw_invitation(
    organization_id: OrganizationId,
    invitation_id: InvitationId,
    principal: Writer,
    service: InvitationServiceDep,
) -> None:
    """Withdraw an invitation; its link opens nothing any more."""
    await service.withdraw((organization_id, invitation_id), principal=principal)


@invitations.post("/{invitation_id}/resend")
async def send_invitation_again(
    organization_id: OrganizationId,
    invitation_id: InvitationId,
    principal: Writer,
    service: InvitationServiceDep,
) -> InvitationRead:
    """Send an invitation again, with a new link; the old one opens nothing any more."""
    invitation = await service.send_again((organization_id, invitation_id), principal=principal)
    return InvitationRead.model_validate(invitation)


@invitation_links.get("/{token}")
@public
async def see_invitation(
    token: LinkToken, service: InvitationServiceDep, response: Response
) -> InvitationSeen:
    """Tell what an invitation is about, to whoever has its link."""
    response.headers["Cache-Control"] = "no-store"
    return await service.see(token)


@invitation_links.post("/{token}/accept")
async def accept_invitation(
    token: LinkToken, person: PersonDep, service: InvitationServiceDep
) -> InvitationAccepted:
    """Accept an invitation to your own address."""
    membership = await service.accept(token, person=person)
    return InvitationAccepted.model_validate(membership)
