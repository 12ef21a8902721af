"""Wire models of copies from one environment to another."""

from typing import Annotated, Literal

from pydantic import Field

from undercroft.flags.schemas.changes import PatchOperation
from undercroft.flags.schemas.names import EnvironmentKey, FlagKey
from undercroft.shared.serialization import RequestModel, WireModel


class PromotionCreate(RequestModel):
    """Which definitions come from where."""

    source: EnvironmentKey = Field(description="The environment to copy from.", examples=["staging"])
    flags: Annotated[list[FlagKey], Field(min_length=1, max_length=1_000)] | None = Field(
        None, description="These flags; all that the source defines, when absent."
    )
    preview: bool = Field(default=False, description="Only tell what would change.")


class PromotedChange(WireModel):
    """One definition that comes or changes."""

    flag: str
    kind: Literal["created", "updated"]
    diff: list[PatchOperation]


class PromotionResult(WireModel):
    """What was changed, or would be; flags that are the same in both are absent."""

    applied: bool
    changes: list[PromotedChange]
    evaluators: list[str] = Field(description="Evaluators of the source's own that come along.")
