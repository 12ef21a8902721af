"""What rules mean, read directly and as simply as possible: the independent half of a differential test."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import cbor2
import mmh3
import semver

TEXT_SECONDS = 19


def choose(
    key: str, source: Mapping[str, Any], segments: Mapping[str, Any], context: Mapping[str, Any], now: int
) -> str | None:
    """Return the variant of the first rule that applies, None when none does."""
    for rule in source["rules"]:
        if not all(holds(each, segments, context, now) for each in rule.get("conditions", ())):
            continue
        split = rule.get("split")
        if split is not None and attribute(context, split.get("bucketBy", "targetingKey"), now) in (None, ""):
            continue
        if not is_rolled_out(key, rule.get("rollout"), context, now):
            continue
        return rule["variant"] if split is None else pick(key, split, context, now)
    return None


def is_rolled_out(key: str, rollout: Mapping[str, Any] | None, context: Mapping[str, Any], now: int) -> bool:
    if rollout is None or rollout["percentage"] == 100:
        return True
    value = attribute(context, rollout.get("bucketBy", "targetingKey"), now)
    if value is None or value == "":
        return False
    place = bucket(f"{rollout.get('seed') or key}/rollout:", value, 10_000)
    return place < round(rollout["percentage"] * 100)


def pick(key: str, split: Mapping[str, Any], context: Mapping[str, Any], now: int) -> str:
    value = attribute(context, split.get("bucketBy", "targetingKey"), now)
    total = sum(part["weight"] for part in split["variants"])
    place = bucket(f"{split.get('seed') or key}:", value, total)
    end = 0
    for part in split["variants"]:
        end += part["weight"]
        if place < end:
            return part["variant"]
    raise AssertionError


def bucket(seed: str, value: object, total: int) -> int:
    encoded = cbor2.dumps(seed + text(value), canonical=True)
    return mmh3.hash(encoded, signed=False) * total >> 32


def attribute(context: Mapping[str, Any], path: str, now: int) -> Any:
    if path == "$flagd.timestamp":
        return now
    found: Any = context
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, list):
        return ",".join(map(text, value))
    return "[object Object]" if isinstance(value, dict) else str(value)


def holds(
    condition: Mapping[str, Any], segments: Mapping[str, Any], context: Mapping[str, Any], now: int
) -> bool:
    operator = condition["operator"]
    values = condition.get("values") or [condition.get("value")]
    if operator == "in_segment":
        found = any(all(holds(each, segments, context, now) for each in segments[name]) for name in values)
    else:
        path = condition.get("attribute", "$flagd.timestamp")
        actual = attribute(context, path, now)
        found = any(compare(operator, actual, value) for value in values)
    return not found if condition.get("negate") else found


def compare(operator: str, actual: Any, value: Any) -> bool:  # noqa: PLR0911  one case an operator
    match operator:
        case "exists":
            return actual is not None
        case "equals" | "in":
            return bool(actual == value)
        case "starts_with":
            return isinstance(actual, str) and actual.startswith(value)
        case "ends_with":
            return isinstance(actual, str) and actual.endswith(value)
        case "contains":
            return isinstance(actual, (str, list)) and value in actual
        case "less_than" | "at_most" | "greater_than" | "at_least":
            number = as_number(actual)
            return number is not None and is_ordered(operator, number, value)
        case "before" | "after":
            return is_on_side(operator, actual, value)
        case _:
            return compare_versions(operator.removeprefix("version_"), actual, value)


def as_number(actual: Any) -> float | None:
    if isinstance(actual, (int, float)):
        return actual
    if isinstance(actual, str):
        try:
            return float(actual)
        except ValueError:
            return None
    if isinstance(actual, list) and len(actual) <= 1:
        return (as_number(actual[0]) or 0) if actual and actual[0] is None else as_list_number(actual)
    return None


def as_list_number(actual: Sequence[Any]) -> float | None:
    return as_number(actual[0]) if actual else 0


def is_ordered(operator: str, number: float, value: float) -> bool:
    return {
        "less_than": number < value,
        "at_most": number <= value,
        "greater_than": number > value,
        "at_least": number >= value,
    }[operator]


def is_on_side(operator: str, actual: Any, value: Any) -> bool:
    moment = value if isinstance(value, int) else int(datetime.fromisoformat(value).timestamp())
    if isinstance(actual, (int, float)):
        return actual < moment if operator == "before" else actual > moment
    if not isinstance(actual, str) or actual[4:5] != "-":
        return False
    if len(actual) > 10 and not actual.endswith(("Z", "+00:00")):
        return False
    seconds = (actual + "T00:00:00")[:TEXT_SECONDS]
    limit = datetime.fromtimestamp(moment, UTC).isoformat()[:TEXT_SECONDS]
    return seconds < limit if operator == "before" else seconds > limit


def compare_versions(operator: str, actual: Any, value: str) -> bool:
    left, right = version(actual), version(value)
    if left is None or right is None:
        return False
    order = left.compare(right)
    return {
        "equals": order == 0,
        "less_than": order < 0,
        "at_most": order <= 0,
        "greater_than": order > 0,
        "at_least": order >= 0,
        "same_major": left.major == right.major,
        "same_minor": (left.major, left.minor) == (right.major, right.minor),
    }[operator]


def version(value: Any) -> semver.Version | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    written = str(value).removeprefix("v").removeprefix("V") if isinstance(value, str) else str(value)
    core = written.split("-", 1)[0].split("+", 1)[0]
    padded = core + ".0" * max(0, 2 - core.count(".")) + written[len(core) :]
    return semver.Version.parse(padded) if semver.Version.is_valid(padded) else None
