"""What happens to grants, consents and single access tokens."""

from typing import Literal, TypeAlias
from uuid import UUID

from undercroft.shared.events import Event
from undercroft.shared.ids import TypeId

ConsentHappening: TypeAlias = Literal["given", "withdrawn"]


def grant_revoked(grant_id: UUID, *, user_id: UUID, organization_id: UUID | None, actor: str) -> Event:
    """Tell that a grant ended, and with it every token that names it."""
    return Event(
        type="dev.undercroft.grant.revoked",
        subject=str(TypeId("grt", grant_id)),
        data={"userId": str(TypeId("usr", user_id))},
        organization_id=organization_id,
        actor=actor,
    )


def access_token_revoked(jti: str, *, actor: str) -> Event:
    """Tell that one access token was revoked by itself."""
    return Event(type="dev.undercroft.access_token.revoked", subject=jti, actor=actor)


def consent_event(
    happening: ConsentHappening, *, user_id: UUID, client_id: UUID, organization_id: UUID | None
) -> Event:
    """Tell that somebody allowed a client something, or withdrew it."""
    user = str(TypeId("usr", user_id))
    return Event(
        type=f"dev.undercroft.consent.{happening}",
        subject=user,
        data={"clientId": str(TypeId("client", client_id))},
        organization_id=organization_id,
        actor=user,
    )
