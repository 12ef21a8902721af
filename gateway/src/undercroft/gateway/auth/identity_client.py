"""What the gateway asks identity: what a key opens, what a token's subject may do now, which keys sign tokens."""

from typing import Final, Literal

from pydantic import Field

from undercroft.gateway.errors import OrganizationNotFoundError
from undercroft.shared.auth import Kind
from undercroft.shared.errors import NotFoundError
from undercroft.shared.http_client import CallOptions, ServiceClient
from undercroft.shared.serialization import Timestamp, WireModel

UNKNOWN_KEY_CODE: Final = "api_key_invalid"
ACCESS_ENDED_CODE: Final = "access_ended"

_KEY_SET_PATH = "/.well-known/jwks.json"


class VerifiedKey(WireModel):
    """Identity's answer about a key."""

    key_id: str
    organization_id: str | None
    scopes: frozenset[str]
    environment: str | None
    expires_at: Timestamp | None
    kind: Literal["api_key", "operator"]
    plan: str | None = None
    allowed_cidrs: tuple[str, ...] = Field(default=())


class AccessRequest(WireModel):
    """The question what the bearer of a token may do now."""

    subject: str
    token_id: str
    grant_id: str | None = None
    organization_id: str | None = None


class Access(WireModel):
    """Identity's answer: what role, client or key allow, whatever the token says."""

    kind: Kind
    organization_id: str | None
    scopes: frozenset[str]
    environment: str | None = None
    plan: str | None = None
    allowed_cidrs: tuple[str, ...] = Field(default=())


class IdentityClient:
    """Asks identity, for at most `wait_seconds`. Every method raises the client's errors."""

    def __init__(self, client: ServiceClient, *, wait_seconds: float) -> None:
        self._client = client
        self._options = CallOptions(is_idempotent=True, retries=1, read_seconds=wait_seconds)

    async def verify(self, secret: str) -> VerifiedKey | None:
        """Return the properties of an API key, or None for one that is unknown, expired or revoked."""
        try:
            return await self._client.post(
                "/internal/api-keys/verify",
                VerifiedKey,
                body={"secret": secret},
                options=self._options,
            )
        except NotFoundError as error:
            if error.code == UNKNOWN_KEY_CODE:
                return None
            raise

    async def look_up(self, request: AccessRequest) -> Access | None:
        """Return what a token's subject may do now, or None when its access has ended.

        Raises `OrganizationNotFoundError` when it may not act in the organization that was asked about.
        """
        body = request.model_dump(by_alias=True, exclude_none=True)
        try:
            return await self._client.post("/internal/access", Access, body=body, options=self._options)
        except NotFoundError as error:
            if error.code == ACCESS_ENDED_CODE:
                return None
            if error.code == OrganizationNotFoundError.code:
                raise OrganizationNotFoundError from None
            raise

    async def fetch_key_set(self) -> bytes:
        """Return the public keys that tokens are signed with, as JSON."""
        return (await self._client.send("GET", _KEY_SET_PATH, options=self._options)).content
