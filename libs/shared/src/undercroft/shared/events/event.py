"""Events as they travel between services: CloudEvents 1.0 in JSON, in pages of a feed. Knows no database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from pydantic import Field, JsonValue

from undercroft.shared.errors import BadRequestError, GoneError
from undercroft.shared.serialization import Timestamp, WireModel

FEED_PATH: Final = "/internal/events"
MAX_WAIT_SECONDS: Final = 30
TYPE_PREFIX: Final = "dev.undercroft."


class CursorInvalidError(BadRequestError):
    """The `after` of a feed request is nothing that a feed has issued."""

    code = "feed_cursor_invalid"


class CursorGoneError(GoneError):
    """Events after this cursor are no longer kept: the consumer reads the owner's list and starts again."""

    code = "feed_cursor_gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, in the past tense: `dev.undercroft.api_key.revoked` about `key_...`.

    `data` never carries a secret; `actor` is the subject of the principal who did it.
    """

    type: str
    subject: str
    data: Mapping[str, JsonValue] = field(default_factory=dict)
    organization_id: UUID | None = None
    actor: str | None = None

    def __post_init__(self) -> None:
        if not self.type.startswith(TYPE_PREFIX):
            raise ValueError(f"event type {self.type!r} does not begin with {TYPE_PREFIX}")


class CloudEvent(WireModel):
    """An event on the wire, with the extensions `organizationid` and `actor`."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: Timestamp
    datacontenttype: str = "application/json"
    organization_id: str | None = Field(None, alias="organizationid")
    actor: str | None = None
    data: dict[str, JsonValue]


class FeedPage(WireModel):
    """Events in order and the cursor after the last of them."""

    items: list[CloudEvent]
    next_cursor: str
