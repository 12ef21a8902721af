"""Wire models of what a token's subject may do now."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from undercroft.identity.schemas.organizations import OrganizationId
from undercroft.shared.ids import IdOf
from undercroft.shared.serialization import RequestModel, WireModel

GrantId = Annotated[UUID, IdOf("grt")]


class AccessQuestion(RequestModel):
    """Whose token it is, and in which organization it is used."""

    subject: str = Field(max_length=100)
    token_id: str = Field(max_length=200)
    grant_id: GrantId | None = None
    organization_id: OrganizationId | None = None


class Access(WireModel):
    """What the subject may do now, and where. A token never reaches further than its own scope."""

    kind: Literal["user", "client", "api_key", "operator"]
    organization_id: OrganizationId | None
    scopes: list[str]
    environment: str | None = None
    allowed_cidrs: list[str] = Field(default_factory=list)
