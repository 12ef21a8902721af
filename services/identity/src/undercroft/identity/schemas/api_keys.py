"""Wire models of API keys. A secret is in the answer that makes it and nowhere else."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from undercroft.identity.domain.api_keys import normalise_network, unique
from undercroft.identity.schemas.organizations import Name, OrganizationId
from undercroft.shared.auth import Scope
from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel

ApiKeyId = Annotated[UUID, IdOf("key")]
EnvironmentKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9\-_.]{0,127}$")]


def _network(value: str) -> str:
    try:
        return normalise_network(value)
    except ValueError:
        raise PydanticCustomError("network", "Input should be a network such as 192.0.2.0/24") from None


Network = Annotated[str, StringConstraints(max_length=64), AfterValidator(_network)]
Networks = Annotated[list[Network], Field(max_length=50), AfterValidator(unique)]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=50)]


class ApiKeyCreate(RequestModel):
    """A new API key."""

    name: Name
    scopes: Scopes = Field(description="What the key may do; none that its maker does not hold.")
    environment: EnvironmentKey | None = Field(
        None, description="The flags environment that it evaluates in, and the only one."
    )
    expires_at: Timestamp | None = Field(None, description="When it stops working; never, when absent.")
    allowed_cidrs: Networks = Field(
        default_factory=list, description="Networks it may be used from; everywhere, when empty."
    )


class ApiKeyUpdate(RequestModel):
    """What changes about an API key; members that are absent stay as they are."""

    # Factories, because a default would show in the OpenAPI document and generated clients would send it.
    name: Name = Field(default_factory=str)
    scopes: Scopes = Field(default_factory=list)
    expires_at: Timestamp | None = None
    allowed_cidrs: Networks = Field(default_factory=list)


class ApiKeyRotate(RequestModel):
    """How a key changes its secret."""

    grace_seconds: Annotated[int, Field(ge=0, le=30 * 86_400)] = Field(
        3_600, description="How long the old secret still works; 0 ends it at once."
    )


class DerivedTokenCreate(RequestModel):
    """A short-lived token that opens less than its key."""

    scopes: Scopes = Field(description="Some of the key's scopes; none that manages keys.")
    expires_in_seconds: Annotated[int, Field(ge=1, le=3_600)] = 600


class DerivedToken(WireModel):
    """An access token of a key; it ends with the key, and is good only from where the key is."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  a scheme
    expires_in: int
    scope: str


class ApiKeyRead(WireModel):
    """An API key. `prefix` is how its secrets begin."""

    id: ApiKeyId
    organization_id: OrganizationId | None
    name: str
    prefix: str
    scopes: list[str]
    environment: str | None
    allowed_cidrs: list[str]
    expires_at: Timestamp | None
    secret_created_at: Timestamp = Field(description="When it was created or last rotated.")
    previous_expires_at: Timestamp | None = Field(
        description="After a rotation: when the old secret stops working."
    )
    last_used_at: Timestamp | None = Field(description="Accurate to some seconds.")
    created_by: str
    created_at: Timestamp
    updated_at: Timestamp


class ApiKeyPage(Page[ApiKeyRead]):
    """Some API keys and where the list goes on."""


class ApiKeyWithSecret(ApiKeyRead):
    """An API key with the secret that was just made. It is shown this once."""

    secret: str


class SecretToVerify(RequestModel):
    """A secret that somebody presented."""

    secret: str = Field(max_length=512, repr=False)


class VerifiedKey(WireModel):
    """What a good secret opens."""

    key_id: ApiKeyId
    kind: Literal["api_key", "operator"]
    organization_id: OrganizationId | None
    scopes: list[str]
    environment: str | None
    expires_at: Timestamp | None
    allowed_cidrs: list[str]
    plan: str | None = None
