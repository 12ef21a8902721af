"""Wire models of organizations."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel

OrganizationId = Annotated[UUID, IdOf("org")]
# PostgreSQL's text cannot hold U+0000, and nobody wants a control character in a name.
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
ExternalKey = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]


class OrganizationCreate(RequestModel):
    """A new organization."""

    name: Name
    external_key: ExternalKey | None = Field(None, description="Your own name for it, unique among all.")


class OrganizationUpdate(RequestModel):
    """What changes about an organization; members that are absent stay as they are."""

    # A factory, because a default would show in the OpenAPI document and generated clients would send it.
    name: Name = Field(default_factory=str)
    external_key: ExternalKey | None = None


class OrganizationRead(WireModel):
    """An organization."""

    id: OrganizationId
    name: str
    external_key: str | None
    created_at: Timestamp
    updated_at: Timestamp


class OrganizationPage(Page[OrganizationRead]):
    """Some organizations and where the list goes on."""
