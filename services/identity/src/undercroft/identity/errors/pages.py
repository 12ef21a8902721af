"""What pages refuse.

ServiceError
├── BadRequestError 400
│   └── FormMalformedError          form_malformed
├── UnauthenticatedError 401
│   └── SignInNeededError           sign_in_needed, which becomes a redirect to the sign-in page
└── ForbiddenError 403
    └── FormExpiredError            form_expired
"""

from undercroft.shared.errors import BadRequestError, ForbiddenError, UnauthenticatedError


class FormMalformedError(BadRequestError):
    """The body is no form, or one that can be read in two ways."""

    code = "form_malformed"


class FormExpiredError(ForbiddenError):
    """The form was not rendered for this browser and session."""

    code = "form_expired"


class SignInNeededError(UnauthenticatedError):
    """The page is for somebody who is signed in; it becomes a redirect to the sign-in page and back."""

    code = "sign_in_needed"

    def __init__(self, onward: str, *, again: bool = False) -> None:
        super().__init__("Sign in first.")
        self.onward = onward
        self.again = again
