"""Wire models of OAuth clients. A secret is in the answer that makes it and nowhere else."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from undercroft.identity.domain.api_keys import unique
from undercroft.identity.domain.oauth.clients import AUTHORIZATION_CODE, REFRESH_TOKEN, AuthMethod, GrantType
from undercroft.identity.domain.signing_keys import Algorithm
from undercroft.identity.schemas.organizations import Name, OrganizationId
from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel

OAuthClientId = Annotated[UUID, IdOf("client")]
ClientType = Literal["confidential", "public"]

RedirectUri = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
RedirectUris = Annotated[list[RedirectUri], Field(max_length=50), AfterValidator(unique)]
GrantTypes = Annotated[list[GrantType], Field(min_length=1, max_length=10), AfterValidator(unique)]
ScopeName = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,100}$")]
ScopeNames = Annotated[list[ScopeName], Field(min_length=1, max_length=50)]


class OAuthClientCreate(RequestModel):
    """A new OAuth client."""

    name: Name = Field(description="What people read when they are asked for consent.")
    type: ClientType = Field(
        description="`confidential` clients keep a secret; `public` ones run at the user's."
    )
    redirect_uris: RedirectUris = Field(
        default_factory=list,
        description="Matched character for character; on a loopback IP address any port will do.",
    )
    post_logout_redirect_uris: RedirectUris = Field(
        default_factory=list, description="Where people may be sent after signing out, matched likewise."
    )
    grant_types: GrantTypes = Field(default_factory=lambda: [AUTHORIZATION_CODE, REFRESH_TOKEN])
    scopes: ScopeNames = Field(
        description="What it may ask for: of the platform none that its maker does not hold, and of OpenID Connect "
        "`openid`, `profile`, `email` and `offline_access`."
    )
    token_endpoint_auth_method: AuthMethod | None = Field(
        None, description="`client_secret_basic` for confidential and `none` for public clients, when absent."
    )
    id_token_signed_response_alg: Algorithm = "RS256"  # noqa: S105  an algorithm
    require_consent: bool = Field(
        default=True, description="False for the operator's own applications, which nobody is asked about."
    )
    require_pushed_authorization_requests: bool = False
    dpop_bound_access_tokens: bool = False


class OAuthClientUpdate(RequestModel):
    """What changes about a client; members that are absent stay as they are."""

    # Factories, because a default would show in the OpenAPI document and generated clients would send it.
    name: Name = Field(default_factory=str)
    redirect_uris: RedirectUris = Field(default_factory=list)
    post_logout_redirect_uris: RedirectUris = Field(default_factory=list)
    grant_types: GrantTypes = Field(default_factory=list)
    scopes: ScopeNames = Field(default_factory=list)
    token_endpoint_auth_method: AuthMethod = Field(default_factory=lambda: "none")
    id_token_signed_response_alg: Algorithm = Field(default_factory=lambda: "RS256")
    require_consent: bool = Field(default_factory=bool)
    require_pushed_authorization_requests: bool = Field(default_factory=bool)
    dpop_bound_access_tokens: bool = Field(default_factory=bool)


class OAuthClientRotate(RequestModel):
    """How a client changes its secret."""

    grace_seconds: Annotated[int, Field(ge=0, le=30 * 86_400)] = Field(
        86_400, description="How long the old secret still works; 0 ends it at once."
    )


class OAuthClientRead(WireModel):
    """An OAuth client."""

    client_id: OAuthClientId = Field(validation_alias="id")
    organization_id: OrganizationId | None
    name: str
    type: ClientType
    redirect_uris: list[str]
    post_logout_redirect_uris: list[str]
    grant_types: list[str]
    scopes: list[str]
    token_endpoint_auth_method: AuthMethod
    id_token_signed_response_alg: Algorithm
    require_consent: bool = Field(validation_alias="is_consent_required")
    require_pushed_authorization_requests: bool = Field(validation_alias="is_pushed_request_required")
    dpop_bound_access_tokens: bool = Field(validation_alias="is_dpop_required")
    previous_expires_at: Timestamp | None = Field(
        description="After a rotation: when the old secret stops working."
    )
    created_by: str
    created_at: Timestamp
    updated_at: Timestamp


class OAuthClientPage(Page[OAuthClientRead]):
    """Some OAuth clients and where the list goes on."""


class OAuthClientWithSecret(OAuthClientRead):
    """A client with the secret that was just made, if it has one. It is shown this once."""

    client_secret: str | None = None
