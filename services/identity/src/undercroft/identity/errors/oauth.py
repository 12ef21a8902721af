"""What the authorization server refuses, with the codes of its standards.

ServiceError
└── OAuthError 400                        rendered as {"error", "error_description"} (RFC 6749 section 5.2)
    ├── InvalidRequestError               invalid_request
    ├── InvalidClientError 401            invalid_client
    ├── InvalidGrantError                 invalid_grant
    │   └── ReusedError                   invalid_grant; what was issued is revoked, and that is kept
    ├── UnauthorizedClientError           unauthorized_client
    ├── UnsupportedGrantTypeError         unsupported_grant_type
    ├── InvalidScopeError                 invalid_scope
    ├── InvalidTargetError                invalid_target (RFC 8707)
    ├── InvalidDpopProofError             invalid_dpop_proof (RFC 9449)
    │   └── UseDpopNonceError             use_dpop_nonce
    ├── UnsupportedTokenTypeError         unsupported_token_type (RFC 7009)
    ├── AuthorizationPendingError         authorization_pending (RFC 8628)
    ├── SlowDownError                     slow_down
    ├── ExpiredTokenError                 expired_token
    ├── AccessDeniedError                 access_denied
    ├── UnsupportedResponseTypeError      unsupported_response_type
    ├── LoginRequiredError                login_required (OpenID Connect Core section 3.1.2.6)
    ├── ConsentRequiredError              consent_required
    ├── InteractionRequiredError          interaction_required
    ├── RequestNotSupportedError          request_not_supported
    ├── RequestUriNotSupportedError       request_uri_not_supported
    ├── InvalidRequestUriError            invalid_request_uri
    ├── RegistrationNotSupportedError     registration_not_supported
    ├── TooManyGuessesError 429           temporarily_unavailable
    ├── AwayError 503                     temporarily_unavailable
    ├── WrongMethodError 405              invalid_request
    ├── BodyTooLargeError 413             invalid_request
    └── CrashError 500                    server_error
ServiceError
└── BearerError 401                       a resource's refusal (RFC 6750 section 3.1)
    ├── BearerRequestError 400            invalid_request
    ├── BearerTokenError 401              invalid_token
    └── BearerScopeError 403              insufficient_scope
"""

from collections.abc import Mapping
from typing import ClassVar

from undercroft.shared.errors import ServiceError


class OAuthError(ServiceError):
    """A refusal with a registered code; `detail` is ASCII without quotes and backslashes, as the standard demands."""

    status = 400
    code = "invalid_request"
    # What was written on the way to this refusal stays written.
    keeps_changes: ClassVar[bool] = False


class InvalidRequestError(OAuthError):
    """A parameter is missing, repeated, malformed or contradicts another."""


class InvalidClientError(OAuthError):
    """The client is unknown or did not prove who it is."""

    status = 401
    code = "invalid_client"


class InvalidGrantError(OAuthError):
    """What was presented is unknown, expired, used, or somebody else's."""

    code = "invalid_grant"


class ReusedError(InvalidGrantError):
    """A code or refresh token was used twice; the revocation of what it led to is kept."""

    keeps_changes = True


class UnauthorizedClientError(OAuthError):
    """The client is not registered for this."""

    code = "unauthorized_client"


class UnsupportedGrantTypeError(OAuthError):
    """There is no such grant type here."""

    code = "unsupported_grant_type"


class InvalidScopeError(OAuthError):
    """A scope is unknown, or more than the client may have."""

    code = "invalid_scope"


class InvalidTargetError(OAuthError):
    """A resource is unknown, or more than was granted."""

    code = "invalid_target"


class InvalidDpopProofError(OAuthError):
    """A DPoP proof is missing where it is needed, or proves nothing."""

    code = "invalid_dpop_proof"


class UseDpopNonceError(InvalidDpopProofError):
    """The proof needs a nonce of this server; the answer carries one."""

    code = "use_dpop_nonce"


class UnsupportedTokenTypeError(OAuthError):
    """Tokens of this type cannot be revoked."""

    code = "unsupported_token_type"


class AuthorizationPendingError(OAuthError):
    """Nobody has decided about the device yet."""

    code = "authorization_pending"
    keeps_changes = True


class SlowDownError(OAuthError):
    """The device asks too often."""

    code = "slow_down"
    keeps_changes = True


class ExpiredTokenError(OAuthError):
    """The device waited too long."""

    code = "expired_token"


class AccessDeniedError(OAuthError):
    """Somebody said no."""

    code = "access_denied"


class UnsupportedResponseTypeError(OAuthError):
    """Only codes are issued at the authorization endpoint."""

    code = "unsupported_response_type"


class LoginRequiredError(OAuthError):
    """Somebody would have to sign in, and no page may be shown."""

    code = "login_required"


class ConsentRequiredError(OAuthError):
    """Somebody would have to consent, and no page may be shown."""

    code = "consent_required"


class InteractionRequiredError(OAuthError):
    """Somebody would have to choose, and no page may be shown."""

    code = "interaction_required"


class RequestNotSupportedError(OAuthError):
    """Request objects are not read."""

    code = "request_not_supported"


class RequestUriNotSupportedError(OAuthError):
    """Requests by reference are not fetched; only pushed ones are known."""

    code = "request_uri_not_supported"


class InvalidRequestUriError(OAuthError):
    """The pushed request is unknown, expired or another client's."""

    code = "invalid_request_uri"


class RegistrationNotSupportedError(OAuthError):
    """Clients do not register themselves in a request."""

    code = "registration_not_supported"


class TooManyGuessesError(OAuthError):
    """Too many wrong secrets or codes came from there."""

    status = 429
    code = "temporarily_unavailable"

    def __init__(self, detail: str = "", *, retry_after_seconds: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


class AwayError(OAuthError):
    """Something needed is away for now."""

    status = 503
    code = "temporarily_unavailable"


class WrongMethodError(OAuthError):
    """The endpoint has other methods; answers carry `Allow`."""

    status = 405


class BodyTooLargeError(OAuthError):
    """The body exceeds its limit."""

    status = 413


class CrashError(OAuthError):
    """Something broke that the client cannot mend."""

    status = 500
    code = "server_error"


class BearerError(ServiceError):
    """No credentials at all: a challenge without an error (RFC 6750 section 3.1)."""

    status = 401
    code = "unauthenticated"

    def __init__(
        self, detail: str = "", *, headers: Mapping[str, str] | None = None, scope: str = ""
    ) -> None:
        super().__init__(detail, headers=headers)
        self.scope = scope


class BearerRequestError(BearerError):
    """Credentials were sent in two ways, or malformed."""

    status = 400
    code = "invalid_request"


class BearerTokenError(BearerError):
    """The token is malformed, expired, revoked or for somebody else."""

    code = "invalid_token"


class BearerScopeError(BearerError):
    """The token does not reach so far."""

    status = 403
    code = "insufficient_scope"
