"""Wire models of environments and of what is done to a whole one."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from undercroft.flags.schemas.names import Description, EnvironmentKey, Name
from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import Page
from undercroft.shared.serialization import RequestModel, Timestamp, WireModel


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


class DocumentResult(WireModel):
    """What an import did to an environment, in numbers of flags."""

    created: int
    updated: int
    archived: int
