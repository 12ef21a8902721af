"""Clients as the authorization server sees them."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias, cast, get_args
from uuid import UUID

from undercroft.identity.domain.signing_keys import Algorithm

AuthMethod: TypeAlias = Literal["client_secret_basic", "client_secret_post", "none"]
GrantType: TypeAlias = Literal[
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:device_code",
]

AUTHORIZATION_CODE: Final[GrantType] = "authorization_code"
REFRESH_TOKEN: Final[GrantType] = "refresh_token"  # noqa: S105  a grant type
CLIENT_CREDENTIALS: Final[GrantType] = "client_credentials"
DEVICE_CODE: Final[GrantType] = "urn:ietf:params:oauth:grant-type:device_code"
GRANT_TYPES: Final[tuple[GrantType, ...]] = get_args(GrantType)
AUTH_METHODS: Final[tuple[AuthMethod, ...]] = get_args(AuthMethod)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A registered client; `id` is None for this service's own sign-in."""

    id: UUID | None
    client_id: str
    organization_id: UUID | None
    name: str
    auth_method: AuthMethod
    secret_hash: bytes | None
    previous_secret_hash: bytes | None
    previous_expires_at: datetime | None
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...]
    grant_types: frozenset[str]
    scopes: frozenset[str]
    id_token_algorithm: Algorithm
    is_consent_required: bool
    is_pushed_request_required: bool
    is_dpop_required: bool

    @property
    def is_confidential(self) -> bool:
        """Tell whether the client can keep a secret."""
        return self.auth_method != "none"

    @property
    def row_id(self) -> UUID:
        """The id of a client that has a row."""
        return cast("UUID", self.id)

    def has_secret(self, secret_hash: bytes, now: datetime) -> bool:
        """Tell whether this is the hash of the client's secret, or of the one before in its grace."""
        if self.secret_hash is not None and hmac.compare_digest(self.secret_hash, secret_hash):
            return True
        if self.previous_secret_hash is None or self.previous_expires_at is None:
            return False
        return now < self.previous_expires_at and hmac.compare_digest(self.previous_secret_hash, secret_hash)


OWN_CLIENT: Final = Client(
    id=None,
    client_id="undercroft",
    organization_id=None,
    name="Undercroft",
    auth_method="none",
    secret_hash=None,
    previous_secret_hash=None,
    previous_expires_at=None,
    redirect_uris=(),
    post_logout_redirect_uris=(),
    grant_types=frozenset({REFRESH_TOKEN}),
    scopes=frozenset(),
    id_token_algorithm="RS256",  # noqa: S106  an algorithm
    is_consent_required=False,
    is_pushed_request_required=False,
    is_dpop_required=False,
)
