"""What happens to people and their sessions. No address, no name: whoever may know them asks."""

from typing import Literal, TypeAlias
from uuid import UUID

from undercroft.shared.events import Event
from undercroft.shared.ids import TypeId

UserHappening: TypeAlias = Literal["created", "updated", "disabled", "enabled", "deleted"]
SessionHappening: TypeAlias = Literal["created", "ended"]


def user_subject(user_id: UUID) -> str:
    """Return how a user is called in events and tokens."""
    return str(TypeId("usr", user_id))


def user_event(
    happening: UserHappening, user_id: UUID, *, actor: str, changed: tuple[str, ...] = ()
) -> Event:
    """Tell what happened to a user; `changed` names the members, never their values."""
    return Event(
        type=f"dev.undercroft.user.{happening}",
        subject=user_subject(user_id),
        data={"changed": list(changed)} if changed else {},
        actor=actor,
    )


def session_event(happening: SessionHappening, session_id: UUID, *, user_id: UUID, actor: str) -> Event:
    """Tell that somebody signed in on a device, or that this ended."""
    return Event(
        type=f"dev.undercroft.session.{happening}",
        subject=str(TypeId("ses", session_id)),
        data={"userId": user_subject(user_id)},
        actor=actor,
    )
