"""What is refused about the registration of OAuth clients.

ServiceError
├── NotFoundError 404
│   └── OAuthClientNotFoundError    oauth_client_not_found
└── ConflictError 409
    ├── OAuthClientLimitError       oauth_client_limit_reached
    └── NoClientSecretError         client_has_no_secret
"""

from undercroft.shared.errors import ConflictError, NotFoundError


class OAuthClientNotFoundError(NotFoundError):
    """There is no such client, or not for this caller."""

    code = "oauth_client_not_found"


class OAuthClientLimitError(ConflictError):
    """There are as many clients as settings allow."""

    code = "oauth_client_limit_reached"


class NoClientSecretError(ConflictError):
    """A public client has no secret to rotate."""

    code = "client_has_no_secret"
