"""Events that the identity service publishes. None carries a secret or its hash."""

from typing import Literal, TypeAlias
from uuid import UUID

from undercroft.identity.schemas.api_keys import ApiKeyRead
from undercroft.identity.schemas.organizations import OrganizationRead
from undercroft.shared.events import Event
from undercroft.shared.ids import TypeId

OrganizationHappening: TypeAlias = Literal["created", "updated", "deleted"]
KeyHappening: TypeAlias = Literal["created", "updated", "rotated", "revoked"]

_ORGANIZATION_MEMBERS = {"name", "external_key"}
_KEY_MEMBERS = {
    "name",
    "prefix",
    "scopes",
    "environment",
    "expires_at",
    "previous_expires_at",
    "allowed_cidrs",
}


def organization_event(
    happening: OrganizationHappening, organization: OrganizationRead, *, actor: str
) -> Event:
    """Tell what happened to an organization; with `deleted`, everybody deletes what they hold of it."""
    return Event(
        type=f"dev.undercroft.organization.{happening}",
        subject=_id("org", organization.id),
        data=organization.model_dump(mode="json", by_alias=True, include=_ORGANIZATION_MEMBERS),
        organization_id=organization.id,
        actor=actor,
    )


def api_key_event(happening: KeyHappening, key: ApiKeyRead, *, actor: str) -> Event:
    """Tell what happened to an API key; whoever remembers it forgets it."""
    return Event(
        type=f"dev.undercroft.api_key.{happening}",
        subject=_id("key", key.id),
        data=key.model_dump(mode="json", by_alias=True, include=_KEY_MEMBERS),
        organization_id=key.organization_id,
        actor=actor,
    )


def _id(prefix: str, value: UUID) -> str:
    return str(TypeId(prefix, value))
