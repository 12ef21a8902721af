import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from pydantic import ValidationError

from undercroft.shared.serialization import (
    JsonResponse,
    RequestModel,
    Timestamp,
    WireModel,
    dumps,
    format_timestamp,
    loads,
)


class Event(WireModel):
    display_name: str
    happened_at: Timestamp


class EventCreate(RequestModel):
    display_name: str


def test_dumps_writes_compact_utf8_with_utc_as_z() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert dumps({"a": moment, "b": UUID(int=0), "c": "é"}) == (
        '{"a":"2026-01-02T03:04:05Z","b":"00000000-0000-0000-0000-000000000000","c":"é"}'.encode()
    )


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "{", "", b"\xff", '"\ud800"'.encode("utf-8", "surrogatepass")]
)
def test_loads_refuses_what_json_is_not(text: str | bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        loads(text)


def test_loads_keeps_a_float_a_float() -> None:
    assert isinstance(loads("1.0"), float)


def test_wire_models_speak_camel_case_and_utc() -> None:
    event = Event(display_name="x", happened_at=datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert json.loads(event.model_dump_json()) == {"displayName": "x", "happenedAt": "2026-01-01T00:00:00Z"}


def test_naive_times_are_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        Event.model_validate({"displayName": "x", "happenedAt": "2026-01-01T00:00:00"})


def test_request_models_refuse_unknown_members() -> None:
    with pytest.raises(ValidationError, match="extra"):
        EventCreate.model_validate({"displayName": "x", "surprise": 1})


def test_json_response_is_rendered_by_orjson() -> None:
    assert JsonResponse({"a": 1.0}).body == b'{"a":1.0}'


def test_timestamps_drop_needless_fractions() -> None:
    assert format_timestamp(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00Z"
