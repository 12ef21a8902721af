"""The difference of two JSON values as a JSON Patch (RFC 6902), for people to read and for programs to apply."""

from typing import TypeAlias

import orjson

from undercroft.flags.domain.rule_checks import escape

Operation: TypeAlias = dict[str, object]
"""``op`` (add, remove, replace), ``path`` and ``value``; ``was`` is what was there, which RFC 6902 lets readers ignore."""


def difference(before: object, after: object, path: str = "") -> list[Operation]:
    """Return the operations that turn one value into the other; 1 and 1.0 differ, the order of members does not."""
    if isinstance(before, dict) and isinstance(after, dict):
        return _of_objects(before, after, path)
    if isinstance(before, list) and isinstance(after, list):
        return _of_lists(before, after, path)
    if _is_same(before, after):
        return []
    return [{"op": "replace", "path": path, "value": after, "was": before}]


def _of_objects(before: dict[str, object], after: dict[str, object], path: str) -> list[Operation]:
    operations: list[Operation] = []
    for name, value in before.items():
        place = f"{path}/{escape(name)}"
        if name in after:
            operations += difference(value, after[name], place)
        else:
            operations.append({"op": "remove", "path": place, "was": value})
    operations += [
        {"op": "add", "path": f"{path}/{escape(name)}", "value": value}
        for name, value in after.items()
        if name not in before
    ]
    return operations


def _of_lists(before: list[object], after: list[object], path: str) -> list[Operation]:
    """Leave what both begin and end with; between, change item by item, then add or remove what is left."""
    start = 0
    while start < min(len(before), len(after)) and _is_same(before[start], after[start]):
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and _is_same(before[-1 - end], after[-1 - end]):
        end += 1
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    both = min(len(old), len(new))
    operations: list[Operation] = []
    for index in range(both):
        operations += difference(old[index], new[index], f"{path}/{start + index}")
    # From the last to the first, so that no removal moves the place of the next one.
    operations += [
        {"op": "remove", "path": f"{path}/{start + index}", "was": old[index]}
        for index in range(len(old) - 1, both - 1, -1)
    ]
    operations += [
        {"op": "add", "path": f"{path}/{start + index}", "value": new[index]}
        for index in range(both, len(new))
    ]
    return operations


def _is_same(one: object, other: object) -> bool:
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)
