"""Wire models of segments. Conditions are checked by the flag language, which knows where each mistake stands."""

from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field, JsonValue

from undercroft.flags.domain.rules import MAX_CONDITIONS
from undercroft.flags.schemas.names import Description, EnvironmentKey, Name
from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel

_EXAMPLE: Final[list[Any]] = [  # JSON
    {"attribute": "organization.plan", "operator": "in", "values": ["pro", "enterprise"]},
    {"attribute": "country", "operator": "equals", "value": "DE", "negate": True},
]
Conditions = Annotated[
    list[JsonValue],
    Field(
        min_length=1,
        max_length=MAX_CONDITIONS,
        description="Conditions as in a flag's rules; all must hold. `in_segment` may name other segments.",
        examples=[_EXAMPLE],
    ),
]


class SegmentCreate(RequestModel):
    """A new segment."""

    key: EnvironmentKey
    name: Name | None = Field(None, description="The key, when absent.")
    description: Description = ""
    conditions: Conditions


class SegmentUpdate(RequestModel):
    """What changes about a segment; members that are absent stay as they are. Its key never changes."""

    name: Name = Field(default_factory=str)
    description: Description = Field(default_factory=str)
    conditions: Conditions = Field(default_factory=list)


class SegmentRead(WireModel):
    """Conditions under a name, the same in every environment."""

    id: Annotated[UUID, IdOf("seg")]
    key: str
    name: str
    description: str
    conditions: list[JsonValue]
    created_at: Timestamp
    updated_at: Timestamp


class SegmentPage(Page[SegmentRead]):
    """Some segments and where the list goes on."""


class SegmentUse(WireModel):
    """A flag that refers to a segment, and in which environment."""

    flag: str
    environment: str


class SegmentUses(WireModel):
    """Everything that refers to a segment; archived flags too, since they may come back."""

    flags: list[SegmentUse]
    segments: list[str]
