"""What happens to API keys."""

from typing import Literal, TypeAlias

from undercroft.identity.schemas.api_keys import ApiKeyRead
from undercroft.shared.events import Event
from undercroft.shared.ids import TypeId

KeyHappening: TypeAlias = Literal["created", "updated", "rotated", "revoked"]

_KEY_MEMBERS = {
    "name",
    "prefix",
    "scopes",
    "environment",
    "expires_at",
    "previous_expires_at",
    "allowed_cidrs",
}


def api_key_event(happening: KeyHappening, key: ApiKeyRead, *, actor: str) -> Event:
    """Tell what happened to an API key; whoever remembers it forgets it."""
    return Event(
        type=f"dev.undercroft.api_key.{happening}",
        subject=str(TypeId("key", key.id)),
        data=key.model_dump(mode="json", by_alias=True, include=_KEY_MEMBERS),
        organization_id=key.organization_id,
        actor=actor,
    )
