"""What is refused about API keys.

ServiceError
├── ForbiddenError 403
│   ├── ScopeNotHeldError           scope_not_held
│   └── EnvironmentNotHeldError     environment_not_held
├── NotFoundError 404
│   ├── ApiKeyNotFoundError         api_key_not_found
│   └── ApiKeyInvalidError          api_key_invalid
└── ConflictError 409
    └── ApiKeyLimitError            api_key_limit_reached
"""

from undercroft.shared.errors import ConflictError, ForbiddenError, NotFoundError


class ScopeNotHeldError(ForbiddenError):
    """Nobody hands on a scope that they do not hold."""

    code = "scope_not_held"


class EnvironmentNotHeldError(ForbiddenError):
    """A caller bound to one environment hands on keys of that environment only."""

    code = "environment_not_held"


class ApiKeyNotFoundError(NotFoundError):
    """There is no such API key, or not for this caller."""

    code = "api_key_not_found"


class ApiKeyInvalidError(NotFoundError):
    """A secret that opens nothing: mistyped, unknown, expired or revoked, and never told which."""

    code = "api_key_invalid"


class ApiKeyLimitError(ConflictError):
    """There are as many API keys as settings allow."""

    code = "api_key_limit_reached"
