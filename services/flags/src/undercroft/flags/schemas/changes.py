"""Wire models of the history."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, JsonValue

from undercroft.flags.schemas.names import ChangeOrigin
from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import Timestamp, WireModel


class PatchOperation(WireModel):
    """One step of a JSON Patch (RFC 6902); `was` is what stood there before."""

    op: Literal["add", "remove", "replace"]
    path: str
    value: JsonValue = None
    was: JsonValue = None


class ChangeRead(WireModel):
    """What was changed at once, by whom."""

    revision: int = Field(description="What `restore` takes; greater than that of every earlier change.")
    at: Timestamp
    actor: str = Field(description="The subject of who changed it: a user, a key, or a schedule's author.")
    origin: ChangeOrigin
    environment: str | None = Field(description="Where the definition was changed; null for the flag itself.")
    schedule_id: Annotated[UUID, IdOf("sch")] | None = None
    kind: Literal["created", "updated", "removed"]
    diff: list[PatchOperation] = Field(
        description="From the state before to the state after; `value` is absent in a removal."
    )


class ChangePage(Page[ChangeRead]):
    """Some changes and where the list goes on."""


class RestoreResult(WireModel):
    """What a restore did: the new change, or null when everything was that way already."""

    restored: int
    change: ChangeRead | None
