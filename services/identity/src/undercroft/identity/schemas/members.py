"""Wire models of members and invitations."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from undercroft.identity.domain.roles import Role
from undercroft.identity.schemas.organizations import OrganizationId
from undercroft.identity.schemas.users import Email, UserId
from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel

InvitationId = Annotated[UUID, IdOf("inv")]


class MemberRead(WireModel):
    """Somebody's place in an organization."""

    user_id: UserId
    email: str
    name: str
    role: Role
    is_disabled: bool
    created_at: Timestamp
    updated_at: Timestamp


class MemberPage(Page[MemberRead]):
    """Some members and where the list goes on."""


class MemberUpdate(RequestModel):
    """A member's new role."""

    role: Role


class InvitationCreate(RequestModel):
    """Whom to invite."""

    email: Email
    role: Role = Role.VIEWER


class InvitationRead(WireModel):
    """An open invitation."""

    id: InvitationId
    organization_id: OrganizationId
    email: str
    role: Role
    invited_by: str
    expires_at: Timestamp
    created_at: Timestamp


class InvitationPage(Page[InvitationRead]):
    """Some invitations and where the list goes on."""


class InvitationSeen(WireModel):
    """What an invitation says to whoever got it."""

    organization_id: OrganizationId
    organization_name: str
    email: str
    role: Role
    has_account: bool = Field(description="Whether the address has an account; sign in with it, or register.")
    expires_at: Timestamp


class InvitationAccepted(WireModel):
    """The membership that an invitation became."""

    organization_id: OrganizationId
    role: Role
