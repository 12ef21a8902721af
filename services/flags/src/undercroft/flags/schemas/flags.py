"""Wire models of flags."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from undercroft.flags.schemas.names import Description, FlagKey, FlagType, JsonObject, Name, Tags, Variants
from undercroft.shared.ids import IdOf
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel


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
    archived_at: Timestamp | None
    expires_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp
