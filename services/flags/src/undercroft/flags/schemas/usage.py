"""Wire models of counted evaluations."""

from typing import Literal

from pydantic import Field

from undercroft.shared.serialization import Timestamp, WireModel


class UsageCount(WireModel):
    """Evaluations that gave the same in one window."""

    start: Timestamp
    environment: str
    variant: str | None = Field(description="Null when no variant was chosen.")
    reason: str
    count: int = Field(description="Of frequent bulk evaluations one in sixteen is counted, sixteen times.")


class UsageRead(WireModel):
    """The evaluations of a flag by variant over time; windows in which there were none are absent."""

    window: Literal["hour", "day"]
    since: Timestamp = Field(alias="from")
    until: Timestamp = Field(alias="to")
    last_evaluated_at: Timestamp | None = Field(
        description="To the minute; remembered longer than the counts."
    )
    totals: dict[str, int] = Field(description="Evaluations of the whole period by variant.")
    items: list[UsageCount]
