"""What a document changes about an environment."""

from datetime import UTC, datetime

import pytest
from pydantic import JsonValue

from undercroft.flags.repository.definitions import Placed
from undercroft.flags.service.differences import compare, is_same
from undercroft.shared.ids import new_uuid7


def placed(position: int, content: dict[str, JsonValue]) -> Placed:
    return Placed(
        flag_id=new_uuid7(), position=position, content=content, revision=1, updated_at=datetime.now(UTC)
    )


def test_flags_come_change_move_and_go():
    current = {"a": placed(0, {"n": 1}), "b": placed(1, {"n": 1}), "c": placed(2, {"n": 1})}
    difference = compare({"c": {"n": 1}, "b": {"n": 2}, "d": {"n": 1}}, current)
    assert difference.created == ("d",)
    assert difference.updated == ("b",)
    assert difference.moved == ("c",)
    assert difference.removed == ("a",)


def test_the_same_flags_in_the_same_order_are_no_difference():
    assert compare({"a": {"n": 1}}, {"a": placed(0, {"n": 1})}).is_any is False


@pytest.mark.parametrize("other", [1, True, {"b": 1, "a": 2}, None])
def test_values_that_python_takes_for_equal_may_differ_as_json(other: object):
    assert is_same(other, other)
    assert not is_same(1.0, other)


def test_the_order_of_members_counts():
    assert not is_same({"a": 1, "b": 2}, {"b": 2, "a": 1})
