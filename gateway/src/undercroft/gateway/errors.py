"""The gateway's own refusals.

ServiceError
├── BadRequestError
│   └── MalformedRequestError 400
│       └── CredentialsMalformedError 400
├── UnauthenticatedError
│   ├── CredentialsMissingError 401
│   ├── CredentialsInvalidError 401
│   │   ├── AccessEndedError
│   │   ├── CredentialsExpiredError
│   │   └── TokenBindingError
│   └── ProofInvalidError 401
├── ForbiddenError
│   ├── InsufficientScopeError 403
│   └── AddressNotAllowedError 403
├── NotFoundError
│   ├── OrganizationNotFoundError 404
│   └── RouteNotFoundError 404
├── RequestTimeoutError 408
├── TargetTooLongError 414
├── RateLimitedError
│   └── QuotaExceededError 429
├── HeadersTooLargeError 431
├── UnavailableError
│   └── StreamsFullError 503
└── BadGatewayError, UnavailableError, GatewayTimeoutError (of an upstream)
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from undercroft.shared.errors import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServiceError,
    UnauthenticatedError,
    UnavailableError,
)
from undercroft.shared.jose import ASYMMETRIC_ALGORITHMS
from undercroft.shared.serialization import dumps

_CHALLENGE = 'Bearer realm="undercroft"'
_PROOF_ALGORITHMS = f'algs="{" ".join(ASYMMETRIC_ALGORITHMS)}"'
_NOT_NOW: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_NOT_IN_A_DESCRIPTION: Final = re.compile(r'[^\x20-\x7e]|["\\]')


class MalformedRequestError(BadRequestError):
    """The request could be read in more than one way, so it is not passed on."""

    code = "malformed_request"


class CredentialsMalformedError(MalformedRequestError):
    """Credentials were sent in more than one way, or in a way that cannot be read (RFC 6750 section 3.1)."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_request"'})


class CredentialsMissingError(UnauthenticatedError):
    """No credentials were sent: the challenge carries no error (RFC 6750 section 3.1)."""

    code = "credentials_missing"

    def __init__(self) -> None:
        super().__init__("Send an access token or an API key as `Authorization: Bearer`.")


class CredentialsInvalidError(UnauthenticatedError):
    """Credentials were sent and are unknown, expired or revoked."""

    code = "credentials_invalid"

    def __init__(self, detail: str = "The credentials are unknown, expired or revoked.") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'})


class AccessEndedError(CredentialsInvalidError):
    """Identity refused the credentials: they are unknown, expired or revoked."""


class CredentialsExpiredError(CredentialsInvalidError):
    """The credentials were good and are over; whoever sends them is guessing nothing."""

    def __init__(self) -> None:
        super().__init__("The credentials have expired.")


class TokenBindingError(CredentialsInvalidError):
    """A bound token was sent as an unbound one, or the other way round, or with another key (RFC 9449 section 7)."""

    def __init__(self, detail: str = "The token is not to be used with this authentication scheme.") -> None:
        super().__init__(detail)
        self.headers["WWW-Authenticate"] += f", DPoP {_PROOF_ALGORITHMS}"


class ProofInvalidError(UnauthenticatedError):
    """The proof of possession is missing or worthless (RFC 9449 section 7.1)."""

    code = "dpop_proof_invalid"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_dpop_proof"'})


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


class OrganizationNotFoundError(NotFoundError):
    """There is no such organization, or not for this caller."""

    code = "organization_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such organization.")


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


class StreamsFullError(UnavailableError):
    """This process has as many event streams open as it may have."""

    code = "streams_full"


def challenge_for_possession(error: ServiceError) -> None:
    """Let an error that names the Bearer scheme name DPoP instead, with the algorithms that proofs may have."""
    challenge = error.headers.get("WWW-Authenticate", "")
    if challenge.startswith(_CHALLENGE):
        own = challenge.partition(", DPoP ")[0].removeprefix("Bearer ")
        error.headers["WWW-Authenticate"] = f"DPoP {own}, {_PROOF_ALGORITHMS}"


def oauth_error_body(error: ServiceError) -> bytes:
    """Return an error as RFC 6749 section 5.2 has it: a refusal is the request's fault, or it is not served now."""
    if error.status in _NOT_NOW:
        code = "temporarily_unavailable"
    else:
        code = "server_error" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request"
    description = _NOT_IN_A_DESCRIPTION.sub("", error.detail)
    return dumps({"error": code, **({"error_description": description} if description else {})})
