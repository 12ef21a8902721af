"""The gateway's own refusals.

ServiceError
├── BadRequestError
│   └── MalformedRequestError 400
├── UnauthenticatedError
│   ├── CredentialsMissingError 401
│   └── CredentialsInvalidError 401
├── ForbiddenError
│   ├── InsufficientScopeError 403
│   └── AddressNotAllowedError 403
├── NotFoundError
│   └── RouteNotFoundError 404
├── RequestTimeoutError 408
├── TargetTooLongError 414
├── RateLimitedError
│   └── QuotaExceededError 429
├── HeadersTooLargeError 431
└── BadGatewayError, UnavailableError, GatewayTimeoutError (of an upstream)
"""

from collections.abc import Iterable

from undercroft.shared.errors import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServiceError,
    UnauthenticatedError,
)

_CHALLENGE = 'Bearer realm="undercroft"'


class MalformedRequestError(BadRequestError):
    """The request could be read in more than one way, so it is not passed on."""

    code = "malformed_request"


class CredentialsMissingError(UnauthenticatedError):
    """No credentials were sent: the challenge carries no error (RFC 6750 section 3.1)."""

    code = "credentials_missing"

    def __init__(self) -> None:
        super().__init__("Send an API key as `Authorization: Bearer` or `X-API-Key`.")


class CredentialsInvalidError(UnauthenticatedError):
    """Credentials were sent and are unknown, expired or revoked."""

    code = "credentials_invalid"

    def __init__(self, detail: str = "The credentials are unknown, expired or revoked.") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'})


class InsufficientScopeError(ForbiddenError):
    """The caller is known and lacks a scope that the route demands."""

    code = "insufficient_scope"

    def __init__(self, scopes: Iterable[str]) -> None:
        needed = " ".join(sorted(scopes))
        challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{needed}"'
        super().__init__(f"This needs the scope {needed}.", headers={"WWW-Authenticate": challenge})


class AddressNotAllowedError(ForbiddenError):
    """The key may not be used from this address."""

    code = "address_not_allowed"


class RouteNotFoundError(NotFoundError):
    """No route leads there."""

    code = "route_not_found"


class RequestTimeoutError(ServiceError):
    """The caller took too long to send its body."""

    status = 408
    code = "request_timeout"


class TargetTooLongError(ServiceError):
    """The path and query are longer than the gateway reads."""

    status = 414
    code = "target_too_long"
    title = "URI Too Long"


class HeadersTooLargeError(ServiceError):
    """There are too many header fields, or too large ones."""

    status = 431
    code = "headers_too_large"


class QuotaExceededError(RateLimitedError):
    """A rate limit is used up (draft-ietf-httpapi-ratelimit-headers, problem type quota-exceeded)."""

    type = "https://iana.org/assignments/http-problem-types#quota-exceeded"
    title = "Request cannot be satisfied as assigned quota has been exceeded"

    def __init__(self, policy: str, *, retry_after_seconds: int) -> None:
        super().__init__(
            f"The limit {policy!r} is used up for now.",
            retry_after_seconds=retry_after_seconds,
            extensions={"violated-policies": [policy]},
        )
