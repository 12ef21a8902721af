"""Wire models of explanations."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from undercroft.flags.schemas.names import JsonObject
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel

Context = Annotated[
    JsonObject,
    Field(
        description="The evaluation context; `organization.id` and `organization.plan` are not added here.",
        examples=[{"targetingKey": "user-1", "organization": {"plan": "pro"}}],
    ),
]


class ExplainRequest(RequestModel):
    """For whom, and when, an evaluation is explained."""

    context: Context = Field(default_factory=dict)
    at: Timestamp | None = Field(None, description="The time of the evaluation; now, when absent.")


class ConditionExplained(WireModel):
    """One condition: what it compares with, what it found, whether it holds (after `negate`)."""

    operator: str
    attribute: str | None
    values: list[JsonValue]
    negate: bool
    actual: JsonValue
    holds: bool
    conditions: list["ConditionExplained"] = Field(description="Of `in_segment`: those of the segments.")


class BucketExplained(WireModel):
    """A rollout or a split: the text that was hashed and the bucket that it fell into."""

    bucket_by: str
    hashed: str | None
    bucket: int | None
    total: int
    chosen: str | None


class RuleExplained(WireModel):
    """One rule. It decides when it is the first of those reached that applies."""

    index: int
    name: str | None
    is_reached: bool
    applies: bool
    conditions: list[ConditionExplained]
    rollout: BucketExplained | None
    split: BucketExplained | None
    variant: str | None


class PrerequisiteExplained(WireModel):
    """One prerequisite: the variants that would do, and the one that the flag has."""

    flag: str
    wanted: list[str]
    variant: str | None
    holds: bool


class OperationExplained(WireModel):
    """One operation of JsonLogic that was reached."""

    pointer: str
    operator: str
    result: JsonValue
    error: str | None


class Explanation(WireModel):
    """An evaluation with everything that led to it."""

    key: str
    environment: str
    value: JsonValue = None
    variant: str | None
    reason: Literal["STATIC", "DEFAULT", "TARGETING_MATCH", "DISABLED", "ERROR"]
    error_code: str | None
    error_details: str | None
    decided_by: Literal["state", "prerequisites", "rule", "targeting", "default", "error"]
    rule: int | None = Field(description="The index of the rule that decided.")
    because: str = Field(description="The same in a sentence.")
    prerequisites: list[PrerequisiteExplained]
    rules: list[RuleExplained]
    targeting: list[OperationExplained] = Field(
        description="Of a definition in JsonLogic: the operations reached, from outside in, 200 at most."
    )
