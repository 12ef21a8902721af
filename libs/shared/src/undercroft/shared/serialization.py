"""JSON in and out: orjson for plain values, camelCase Pydantic models for the wire."""

from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse as StarletteJsonResponse
from typing_extensions import override

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"


def dumps(value: object) -> bytes:
    """Serialize to compact UTF-8 JSON.

    UUIDs, datetimes (RFC 3339, UTC as `Z`) and dataclasses are understood. Raises `TypeError` for anything
    else that JSON cannot say; NaN and infinities become `null`, as orjson does.
    """
    return orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def loads(content: bytes | bytearray | memoryview | str) -> JsonValue:
    """Parse strict JSON (RFC 8259): NaN, infinities, invalid UTF-8 and lone surrogates are refused.

    Raises `json.JSONDecodeError` (orjson's error is a subclass).
    """
    value: JsonValue = orjson.loads(content)
    return value


class JsonResponse(StarletteJsonResponse):
    """A response rendered by orjson."""

    @override
    def render(self, content: Any) -> bytes:  # Starlette declares Any
        return dumps(content)


def format_timestamp(moment: datetime) -> str:
    """Render an aware datetime as RFC 3339 in UTC with `Z`, without needless fractions."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _to_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Timestamp = Annotated[
    AwareDatetime,
    AfterValidator(_to_utc),
    PlainSerializer(format_timestamp, return_type=str, when_used="json"),
]
"""An aware UTC time: RFC 3339 with an offset on the way in, with `Z` on the way out."""


class WireModel(BaseModel):
    """An answer: camelCase members, built from ORM rows or keywords, read leniently by clients."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        from_attributes=True,
        frozen=True,
    )


class RequestModel(WireModel):
    """A request body: unknown members are refused, text is trimmed of nothing and coerced from nothing."""

    model_config = ConfigDict(extra="forbid", from_attributes=False, str_max_length=65_536)
