"""What the flags service refuses.

ServiceError
├── NotFoundError 404
│   ├── EnvironmentNotFoundError    environment_not_found
│   ├── FlagNotFoundError           flag_not_found
│   ├── DefinitionNotFoundError     definition_not_found
│   ├── SegmentNotFoundError        segment_not_found
│   ├── RevisionNotFoundError       revision_not_found
│   └── ScheduleNotFoundError       schedule_not_found
├── ConflictError 409
│   ├── EnvironmentExistsError      environment_exists
│   ├── EnvironmentProtectedError   environment_protected
│   ├── EnvironmentLimitError       environment_limit_reached
│   ├── FlagExistsError             flag_exists
│   ├── FlagArchivedError           flag_archived
│   ├── FlagLimitError              flag_limit_reached
│   ├── FlagRequiredError           flag_required
│   ├── PrerequisiteMissingError    prerequisite_missing
│   ├── SegmentExistsError          segment_exists
│   ├── SegmentInUseError           segment_in_use
│   ├── SegmentLimitError           segment_limit_reached
│   ├── EvaluatorExistsError        evaluator_exists
│   ├── ScheduleFinishedError       schedule_finished
│   ├── ScheduleLimitError          schedule_limit_reached
│   └── ScheduleIncompatibleError   schedule_incompatible
├── UnprocessableError 422
│   ├── DefinitionInvalidError      definition_invalid
│   ├── BulkChangeError             bulk_change_refused
│   ├── ExportUnreadableError       export_unreadable
│   └── PeriodInvalidError          period_invalid
├── RateLimitedError 429
│   └── StreamLimitError            stream_limit_reached
└── UnavailableError 503
    ├── SnapshotMissingError        snapshot_missing
    └── StreamsFullError            streams_full

EvaluationError stands beside the tree: OFREP fixes its body.
"""

from enum import StrEnum

from undercroft.shared.errors import (
    ConflictError,
    FieldProblem,
    NotFoundError,
    RateLimitedError,
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


class SegmentNotFoundError(NotFoundError):
    """There is no such segment."""

    code = "segment_not_found"


class RevisionNotFoundError(NotFoundError):
    """The history has no such revision."""

    code = "revision_not_found"


class ScheduleNotFoundError(NotFoundError):
    """There is no such schedule."""

    code = "schedule_not_found"


class FlagRequiredError(ConflictError):
    """Other flags have this one as a prerequisite; the answer names them."""

    code = "flag_required"


class PrerequisiteMissingError(ConflictError):
    """A flag cannot come back because a prerequisite of it is gone."""

    code = "prerequisite_missing"


class SegmentExistsError(ConflictError):
    """Another segment has this key."""

    code = "segment_exists"


class SegmentInUseError(ConflictError):
    """Flags or other segments refer to this one; the answer names some of them."""

    code = "segment_in_use"


class SegmentLimitError(ConflictError):
    """There are as many segments as settings allow."""

    code = "segment_limit_reached"


class EvaluatorExistsError(ConflictError):
    """An imported document has an evaluator of a segment's name that says something else."""

    code = "evaluator_exists"


class ScheduleFinishedError(ConflictError):
    """The schedule has run, failed or was cancelled before."""

    code = "schedule_finished"


class ScheduleLimitError(ConflictError):
    """The flag has as many open schedules in the environment as are allowed."""

    code = "schedule_limit_reached"


class ScheduleIncompatibleError(ConflictError):
    """The definition is no longer one that the schedule can change."""

    code = "schedule_incompatible"


class BulkChangeError(UnprocessableError):
    """One of several changes is refused, and so all of them; each problem has its JSON pointer."""

    code = "bulk_change_refused"

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("Nothing was changed.", problems=problems)


class ExportUnreadableError(UnprocessableError):
    """A document is not an export of the kind that is imported here."""

    code = "export_unreadable"


class PeriodInvalidError(UnprocessableError):
    """A period ends before it begins, or has too many parts."""

    code = "period_invalid"


class DefinitionInvalidError(UnprocessableError):
    """A definition cannot be evaluated as written; each problem has its JSON pointer."""

    code = "definition_invalid"

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("The definition is not accepted.", problems=problems)


class StreamLimitError(RateLimitedError):
    """These credentials have as many event streams open as they may have."""

    code = "stream_limit_reached"


class StreamsFullError(UnavailableError):
    """This replica has as many event streams open as it may have."""

    code = "streams_full"


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
