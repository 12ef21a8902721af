"""What happens to members and invitations."""

from typing import Literal, TypeAlias
from uuid import UUID

from undercroft.shared.events import Event
from undercroft.shared.ids import TypeId

MemberHappening: TypeAlias = Literal["added", "removed", "role_changed"]
InvitationHappening: TypeAlias = Literal["created", "accepted", "withdrawn"]


def member_event(
    happening: MemberHappening, *, organization_id: UUID, user_id: UUID, role: str, actor: str
) -> Event:
    """Tell that somebody's place in an organization changed."""
    return Event(
        type=f"dev.undercroft.member.{happening}",
        subject=str(TypeId("usr", user_id)),
        data={"role": role},
        organization_id=organization_id,
        actor=actor,
    )


def invitation_event(
    happening: InvitationHappening, invitation_id: UUID, *, organization_id: UUID, role: str, actor: str
) -> Event:
    """Tell what became of an invitation."""
    return Event(
        type=f"dev.undercroft.invitation.{happening}",
        subject=str(TypeId("inv", invitation_id)),
        data={"role": role},
        organization_id=organization_id,
        actor=actor,
    )
