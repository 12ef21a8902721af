"""What the flags service refuses.

ServiceError
├── NotFoundError 404
│   ├── EnvironmentNotFoundError    environment_not_found
│   ├── FlagNotFoundError           flag_not_found
│   └── DefinitionNotFoundError     definition_not_found
├── ConflictError 409
│   ├── EnvironmentExistsError      environment_exists
│   ├── EnvironmentProtectedError   environment_protected
│   ├── EnvironmentLimitError       environment_limit_reached
│   ├── FlagExistsError             flag_exists
│   ├── FlagArchivedError           flag_archived
│   └── FlagLimitError              flag_limit_reached
├── UnprocessableError 422
│   └── DefinitionInvalidError      definition_invalid
└── UnavailableError 503
    └── SnapshotMissingError        snapshot_missing

EvaluationError stands beside the tree: OFREP fixes its body.
"""

from enum import StrEnum

from undercroft.shared.errors import (
    ConflictError,
    FieldProblem,
    NotFoundError,
    UnavailableError,
    UnprocessableError,
)


class EnvironmentNotFoundError(NotFoundError):
    """There is no such environment."""

    code = "environment_not_found"


class FlagNotFoundError(NotFoundError):
    """There is no such flag."""

    code = "flag_not_found"


class DefinitionNotFoundError(NotFoundError):
    """The flag is not defined in this environment."""

    code = "definition_not_found"


class EnvironmentExistsError(ConflictError):
    """Another environment has this key."""

    code = "environment_exists"


class EnvironmentProtectedError(ConflictError):
    """The environment that unbound operator keys evaluate in cannot be deleted."""

    code = "environment_protected"


class EnvironmentLimitError(ConflictError):
    """There are as many environments as settings allow."""

    code = "environment_limit_reached"


class FlagExistsError(ConflictError):
    """Another flag, perhaps an archived one, has this key."""

    code = "flag_exists"


class FlagArchivedError(ConflictError):
    """An archived flag takes no new definitions."""

    code = "flag_archived"


class FlagLimitError(ConflictError):
    """There are as many flags as settings allow."""

    code = "flag_limit_reached"


class DefinitionInvalidError(UnprocessableError):
    """A definition cannot be evaluated as written; each problem has its JSON pointer."""

    code = "definition_invalid"

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("The definition is not accepted.", problems=problems)


class SnapshotMissingError(UnavailableError):
    """This replica has not read any flags yet."""

    code = "snapshot_missing"


class EvaluationErrorCode(StrEnum):
    """OFREP's codes for a request that cannot be evaluated at all (OFREP 0.3.0, evaluationFailure)."""

    PARSE_ERROR = "PARSE_ERROR"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    GENERAL = "GENERAL"


class EvaluationError(Exception):
    """A request that cannot be evaluated; answered 400 with OFREP's body, never as a problem object."""

    def __init__(self, code: EvaluationErrorCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
