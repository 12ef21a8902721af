"""Differences as JSON Patches: applied, they give what they were made for."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from undercroft.flags.domain.json_patch import difference
from undercroft.flags.domain.scheduled import merge

names = st.sampled_from(["a", "b", "a/b", "~c", "0"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)


def apply(document: Any, operations: list[dict[str, Any]]) -> Any:
    """Apply a patch the way RFC 6902 says."""
    document = {"": copy.deepcopy(document)}
    for operation in operations:
        path = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")]
        target = document
        for part in path[:-1]:
            target = target[int(part) if isinstance(target, list) else part]
        last: Any = int(path[-1]) if isinstance(target, list) else path[-1]
        if operation["op"] == "remove":
            del target[last]
        elif operation["op"] == "add" and isinstance(target, list):
            target.insert(last, operation["value"])
        else:
            target[last] = operation["value"]
    return document[""]


@given(before=values, after=values)
def test_a_difference_turns_one_value_into_the_other(before: object, after: object) -> None:
    operations = difference(before, after)
    assert repr(apply(before, operations)) == repr(after) or apply(before, operations) == after
    assert (operations == []) == (difference(after, before) == [])


def test_an_inserted_item_is_one_addition():
    assert difference([1, 2, 3], [1, 9, 2, 3]) == [{"op": "add", "path": "/1", "value": 9}]


def test_removals_go_from_the_last_to_the_first():
    assert [each["path"] for each in difference([1, 2, 3, 4], [1, 4])] == ["/2", "/1"]


def test_a_float_differs_from_an_integer():
    assert difference({"a": 1}, {"a": 1.0}) == [{"op": "replace", "path": "/a", "value": 1.0, "was": 1}]


def test_a_merge_patch_removes_with_null_and_replaces_what_is_no_object():
    assert merge({"a": 1, "b": {"c": 1, "d": 2}}, {"a": None, "b": {"c": 3}, "e": {"f": None}}) == {
        "b": {"c": 3, "d": 2},
        "e": {},
    }
    assert merge({"a": 1}, [1]) == [1]
