"""Wire models of connected applications."""

from pydantic import Field

from undercroft.identity.schemas.oauth_clients import OAuthClientId
from undercroft.identity.schemas.organizations import OrganizationId
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import Timestamp, WireModel


class ConnectedApp(WireModel):
    """An application that somebody has allowed to act for them."""

    client_id: OAuthClientId
    client_name: str
    organization_id: OrganizationId | None = Field(description="The one organization that it has access to.")
    organization_name: str | None
    scopes: list[str]
    updated_at: Timestamp


class ConnectedAppPage(Page[ConnectedApp]):
    """Some connected applications."""
