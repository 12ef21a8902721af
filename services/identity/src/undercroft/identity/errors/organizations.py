"""What is refused about organizations.

ServiceError
├── NotFoundError 404
│   └── OrganizationNotFoundError   organization_not_found
└── ConflictError 409
    └── ExternalKeyTakenError       external_key_taken
"""

from undercroft.shared.errors import ConflictError, NotFoundError


class OrganizationNotFoundError(NotFoundError):
    """There is no such organization, or not for this caller."""

    code = "organization_not_found"


class ExternalKeyTakenError(ConflictError):
    """Another organization has this external key."""

    code = "external_key_taken"
