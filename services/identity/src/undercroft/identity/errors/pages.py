"""What pages refuse.

ServiceError
├── BadRequestError 400
│   └── FormMalformedError          form_malformed
└── ForbiddenError 403
    └── FormExpiredError            form_expired
"""

from undercroft.shared.errors import BadRequestError, ForbiddenError


class FormMalformedError(BadRequestError):
    """The body is no form, or one that can be read in two ways."""

    code = "form_malformed"


class FormExpiredError(ForbiddenError):
    """The form was not rendered for this browser and session."""

    code = "form_expired"
