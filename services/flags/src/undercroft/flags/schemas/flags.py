"""Wire models of flags."""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from undercroft.flags.schemas.names import (
    Description,
    FlagKey,
    FlagState,
    FlagType,
    JsonObject,
    Name,
    Tags,
    Variants,
)
from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel

StaleReason: TypeAlias = Literal["expired", "unused"]


class FlagCreate(RequestModel):
    """A new flag; what it means in an environment is defined there."""

    key: FlagKey
    type: FlagType
    description: Description = ""
    owner: Name | None = None
    tags: Tags = Field(default_factory=list)
    expires_at: Timestamp | None = Field(
        None, description="When the flag should be gone: from then on it is listed as stale."
    )
    variants: Variants | None = Field(
        None,
        description="Variants of a definition that names none. A boolean flag has `on` and `off` when absent.",
    )


class FlagUpdate(RequestModel):
    """What changes about a flag; members that are absent stay as they are. Key and type never change."""

    description: Description = Field(default_factory=str)
    owner: Name | None = None
    tags: Tags = Field(default_factory=list)
    variants: Variants = Field(default_factory=dict)
    expires_at: Timestamp | None = None
    archived: bool = Field(default_factory=bool, description="`false` brings an archived flag back.")


class FlagRead(WireModel):
    """A flag, as it is in every environment."""

    id: Annotated[UUID, IdOf("flg")]
    key: str
    type: FlagType
    description: str
    owner: str | None
    tags: list[str]
    variants: JsonObject
    states: dict[str, FlagState] = Field(
        description="By the keys of the environments that define it: its state there. The ETag does not cover it."
    )
    archived_at: Timestamp | None
    expires_at: Timestamp | None
    last_evaluated_at: Timestamp | None = Field(description="To the minute, in any environment.")
    stale: list[StaleReason] = Field(
        description="Why the flag could go: it has expired, or nobody evaluates it any more. Empty when it is archived."
    )
    created_at: Timestamp
    updated_at: Timestamp


class FlagPage(Page[FlagRead]):
    """Some flags and where the list goes on."""


class StateChange(RequestModel):
    """The state of one flag in one environment."""

    flag: str
    environment: str
    state: FlagState
    if_match: str | None = Field(
        None, description="The definition's ETag, as it was read.", examples=['"1024"']
    )


class BulkChange(RequestModel):
    """Changes that are made together, or not at all."""

    changes: Annotated[list[StateChange], Field(min_length=1, max_length=500)]


class StateChanged(WireModel):
    """One change that was made, with the definition's new ETag."""

    flag: str
    environment: str
    state: FlagState
    etag: str


class BulkResult(WireModel):
    """What was changed, in the order of the request."""

    changes: list[StateChanged]
