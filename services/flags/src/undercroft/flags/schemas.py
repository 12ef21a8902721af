"""Wire models of the management API. Flagd definitions and OFREP bodies are not modelled: they pass as they are."""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import Field, JsonValue, StringConstraints

from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel

JsonObject: TypeAlias = dict[str, JsonValue]
FlagType: TypeAlias = Literal["boolean", "string", "number", "object"]
FlagState: TypeAlias = Literal["ENABLED", "DISABLED"]

EnvironmentKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9\-_.]{0,127}$")]
# Clients put the key into OFREP's path as it is, so only what needs no escaping there.
FlagKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9\-_.]{0,127}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Description = Annotated[str, StringConstraints(max_length=4_000)]
Tag = Annotated[str, StringConstraints(pattern=r"^[^\s,]{1,64}$")]
Tags = Annotated[list[Tag], Field(max_length=50)]
Variants = Annotated[
    JsonObject, Field(max_length=200, description="Name to value; all values of the flag's type.")
]


class EnvironmentCreate(RequestModel):
    """A new environment."""

    key: EnvironmentKey
    name: Name | None = Field(None, description="The key, when absent.")
    description: Description = ""


class EnvironmentUpdate(RequestModel):
    """What changes about an environment; members that are absent stay as they are. Its key never changes."""

    # Factories, because a default would show in the OpenAPI document and generated clients would send it.
    name: Name = Field(default_factory=str)
    description: Description = Field(default_factory=str)


class EnvironmentRead(WireModel):
    """An environment. `version` changes with everything that is evaluated in it."""

    id: Annotated[UUID, IdOf("env")]
    key: str
    name: str
    description: str
    version: int
    created_at: Timestamp
    updated_at: Timestamp


class EnvironmentPage(Page[EnvironmentRead]):
    """Some environments and where the list goes on."""


class FlagCreate(RequestModel):
    """A new flag; what it means in an environment is defined there."""

    key: FlagKey
    type: FlagType
    description: Description = ""
    owner: Name | None = None
    tags: Tags = Field(default_factory=list)
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
    created_at: Timestamp
    updated_at: Timestamp


class FlagPage(Page[FlagRead]):
    """Some flags and where the list goes on."""


class DocumentResult(WireModel):
    """What an import did to an environment, in numbers of flags."""

    created: int
    updated: int
    archived: int
