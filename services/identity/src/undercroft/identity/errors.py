"""What the identity service refuses.

ServiceError
├── ForbiddenError 403
│   ├── ScopeNotHeldError           scope_not_held
│   └── EnvironmentNotHeldError     environment_not_held
├── NotFoundError 404
│   ├── OrganizationNotFoundError   organization_not_found
│   ├── ApiKeyNotFoundError         api_key_not_found
│   └── ApiKeyInvalidError          api_key_invalid
├── ConflictError 409
│   ├── ExternalKeyTakenError       external_key_taken
│   └── ApiKeyLimitError            api_key_limit_reached
└── UnprocessableError 422          validation_failed, with scope_not_allowed among its problems
"""

from undercroft.shared.errors import (
    ConflictError,
    FieldProblem,
    ForbiddenError,
    NotFoundError,
    UnprocessableError,
)


class ScopeNotHeldError(ForbiddenError):
    """Nobody hands on a scope that they do not hold."""

    code = "scope_not_held"


class EnvironmentNotHeldError(ForbiddenError):
    """A caller bound to one environment hands on keys of that environment only."""

    code = "environment_not_held"


class OrganizationNotFoundError(NotFoundError):
    """There is no such organization, or not for this caller."""

    code = "organization_not_found"


class ApiKeyNotFoundError(NotFoundError):
    """There is no such API key, or not for this caller."""

    code = "api_key_not_found"


class ApiKeyInvalidError(NotFoundError):
    """A secret that opens nothing: mistyped, unknown, expired or revoked, and never told which."""

    code = "api_key_invalid"


class ExternalKeyTakenError(ConflictError):
    """Another organization has this external key."""

    code = "external_key_taken"


class ApiKeyLimitError(ConflictError):
    """There are as many API keys as settings allow."""

    code = "api_key_limit_reached"


def refused_member(pointer: str, detail: str, code: str) -> UnprocessableError:
    """Return the refusal of one member of a body."""
    return UnprocessableError(problems=[FieldProblem(pointer=pointer, detail=detail, code=code)])
