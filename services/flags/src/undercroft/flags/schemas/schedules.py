"""Wire models of schedules."""

from itertools import pairwise
from typing import Annotated, Literal, Self, TypeAlias
from uuid import UUID

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from undercroft.flags.domain.rules import MAX_ATTRIBUTE_LENGTH
from undercroft.flags.schemas.names import JsonObject, Name
from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel

ScheduleId = Annotated[UUID, IdOf("sch")]
ScheduleStatus: TypeAlias = Literal["open", "done", "failed", "cancelled"]


class RampStep(RequestModel):
    """From a time on, a percentage."""

    at: Timestamp
    percentage: Annotated[float, Field(ge=0, le=100, multiple_of=0.01)]


class Ramp(RequestModel):
    """A rule whose rollout grows. It is found by its name, and added as the last one when it is not there."""

    rule: Name = Field(description="The name of the rule.", examples=["everyone"])
    variant: Name = Field(description="What the rule leads to.", examples=["on"])
    bucket_by: Annotated[str, Field(min_length=1, max_length=MAX_ATTRIBUTE_LENGTH)] | None = Field(
        None, description="The attribute that tells subjects apart; `targetingKey`, when absent."
    )
    steps: Annotated[list[RampStep], Field(min_length=1, max_length=50)] = Field(
        examples=[
            [
                {"at": "2027-01-11T09:00:00Z", "percentage": 1},
                {"at": "2027-01-12T09:00:00Z", "percentage": 10},
                {"at": "2027-01-13T09:00:00Z", "percentage": 100},
            ]
        ]
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if any(later.at <= earlier.at for earlier, later in pairwise(self.steps)):
            raise PydanticCustomError("steps_out_of_order", "each step must be later than the one before")
        return self


class ScheduleCreate(RequestModel):
    """Either one `change` `at` a time, or a `ramp`. A time that has passed is now."""

    at: Timestamp | None = None
    change: JsonObject | None = Field(
        None,
        description="A JSON Merge Patch (RFC 7396) of the definition as it will be then.",
        examples=[{"state": "DISABLED"}],
    )
    ramp: Ramp | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if (self.ramp is None) == (self.change is None) or (self.at is None) != (self.change is None):
            raise PydanticCustomError("one_of", "give `at` and `change`, or `ramp`")
        return self


class RampStepRead(WireModel):
    """From a time on, a percentage."""

    at: Timestamp
    percentage: float


class RampRead(WireModel):
    """A rule whose rollout grows."""

    rule: str
    variant: str
    bucket_by: str | None = None
    steps: list[RampStepRead]


class ScheduleRead(WireModel):
    """A schedule and how far it has come. It stays after its end; `failure` tells why it could not go on."""

    id: ScheduleId
    status: ScheduleStatus
    author: str
    at: Timestamp | None = None
    change: JsonObject | None = None
    ramp: RampRead | None = None
    next_at: Timestamp | None
    steps_done: int
    failure: JsonObject | None = Field(description="`code` and `detail`, perhaps `errors` with pointers.")
    created_at: Timestamp
    finished_at: Timestamp | None


class SchedulePage(Page[ScheduleRead]):
    """Some schedules and where the list goes on."""
