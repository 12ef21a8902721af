"""What happens to organizations."""

from typing import Literal, TypeAlias

from undercroft.identity.schemas.organizations import OrganizationRead
from undercroft.shared.events import Event
from undercroft.shared.ids import TypeId

OrganizationHappening: TypeAlias = Literal["created", "updated", "deleted"]

_ORGANIZATION_MEMBERS = {"name", "external_key"}


def organization_event(
    happening: OrganizationHappening, organization: OrganizationRead, *, actor: str
) -> Event:
    """Tell what happened to an organization; with `deleted`, everybody deletes what they hold of it."""
    return Event(
        type=f"dev.undercroft.organization.{happening}",
        subject=str(TypeId("org", organization.id)),
        data=organization.model_dump(mode="json", by_alias=True, include=_ORGANIZATION_MEMBERS),
        organization_id=organization.id,
        actor=actor,
    )
