"""What is refused about people and their accounts.

ServiceError
├── UnauthenticatedError 401
│   ├── InvalidCredentialsError     invalid_credentials
│   └── SecondFactorRequiredError   second_factor_required
├── ForbiddenError 403
│   ├── NotAPersonError             not_a_person
│   ├── UserDisabledError           user_disabled
│   ├── SignUpClosedError           sign_up_closed
│   ├── RecentSignInRequiredError   recent_sign_in_required
│   └── PasswordWrongError          password_wrong
├── NotFoundError 404
│   ├── UserNotFoundError           user_not_found
│   ├── SessionNotFoundError        session_not_found
│   ├── PasskeyNotFoundError        passkey_not_found
│   └── LinkInvalidError            link_invalid
├── ConflictError 409
│   ├── EmailTakenError             email_taken
│   ├── TotpEnabledError            totp_already_enabled
│   ├── TotpNotStartedError         totp_not_started
│   ├── TotpNotEnabledError         totp_not_enabled
│   ├── PasskeyKnownError           passkey_already_registered
│   ├── PasskeyLimitError           passkey_limit_reached
│   └── SoleOwnerError              sole_owner
├── UnprocessableError 422
│   ├── CodeWrongError              code_wrong
│   └── PasskeyRefusedError         passkey_refused
├── RateLimitedError 429
│   └── TooManyAttemptsError        too_many_attempts
└── UnavailableError 503
    └── HashingBusyError            sign_in_busy
"""

from undercroft.shared.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    UnauthenticatedError,
    UnavailableError,
    UnprocessableError,
)


class InvalidCredentialsError(UnauthenticatedError):
    """Address and password, or the second factor, do not fit; never told which."""

    code = "invalid_credentials"


class SecondFactorRequiredError(UnauthenticatedError):
    """The password was right; a code is needed too."""

    code = "second_factor_required"


class NotAPersonError(ForbiddenError):
    """Only a person who is signed in has an account."""

    code = "not_a_person"


class UserDisabledError(ForbiddenError):
    """The operator has disabled this account."""

    code = "user_disabled"


class SignUpClosedError(ForbiddenError):
    """Nobody registers here without an invitation."""

    code = "sign_up_closed"


class RecentSignInRequiredError(ForbiddenError):
    """This needs somebody who has signed in just now."""

    code = "recent_sign_in_required"


class PasswordWrongError(ForbiddenError):
    """The current password is another one."""

    code = "password_wrong"


class UserNotFoundError(NotFoundError):
    """There is no such user."""

    code = "user_not_found"


class SessionNotFoundError(NotFoundError):
    """There is no such session, or it is somebody else's."""

    code = "session_not_found"


class PasskeyNotFoundError(NotFoundError):
    """There is no such passkey, or it is somebody else's."""

    code = "passkey_not_found"


class LinkInvalidError(NotFoundError):
    """A link that opens nothing: mistyped, used or expired, and never told which."""

    code = "link_invalid"


class EmailTakenError(ConflictError):
    """Another account has this address; told only to whoever has proved to read its mail."""

    code = "email_taken"


class TotpEnabledError(ConflictError):
    """One-time codes are set up already."""

    code = "totp_already_enabled"


class TotpNotStartedError(ConflictError):
    """There is nothing to confirm."""

    code = "totp_not_started"


class TotpNotEnabledError(ConflictError):
    """One-time codes are not set up."""

    code = "totp_not_enabled"


class PasskeyKnownError(ConflictError):
    """This passkey is registered already."""

    code = "passkey_already_registered"


class PasskeyLimitError(ConflictError):
    """There are as many passkeys as settings allow."""

    code = "passkey_limit_reached"


class SoleOwnerError(ConflictError):
    """Organizations would be left without an owner; `organizations` names them."""

    code = "sole_owner"


class CodeWrongError(UnprocessableError):
    """The code is wrong, used or of another time."""

    code = "code_wrong"


class PasskeyRefusedError(UnprocessableError):
    """What the authenticator answered does not fit what it was asked."""

    code = "passkey_refused"


class TooManyAttemptsError(RateLimitedError):
    """Attempts must wait; `Retry-After` says how long."""

    code = "too_many_attempts"


class HashingBusyError(UnavailableError):
    """More sign-ins at once than the settings allow memory for."""

    code = "sign_in_busy"
