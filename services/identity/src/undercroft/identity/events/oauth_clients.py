"""What happens to OAuth clients."""

from typing import Literal, TypeAlias

from undercroft.identity.schemas.oauth_clients import OAuthClientRead
from undercroft.shared.events import Event
from undercroft.shared.ids import TypeId

ClientHappening: TypeAlias = Literal["created", "updated", "deleted"]

_MEMBERS = {"name", "type", "redirect_uris", "grant_types", "scopes", "token_endpoint_auth_method"}


def oauth_client_event(happening: ClientHappening, client: OAuthClientRead, *, actor: str) -> Event:
    """Tell what happened to a client; a new secret is an update."""
    return Event(
        type=f"dev.undercroft.oauth_client.{happening}",
        subject=str(TypeId("client", client.client_id)),
        data=client.model_dump(mode="json", by_alias=True, include=_MEMBERS),
        organization_id=client.organization_id,
        actor=actor,
    )
