"""Reads the values of a condition: what each operator compares with, checked and in one form."""

from datetime import UTC, datetime
from typing import Final

from undercroft.flags.domain.problems import Problems
from undercroft.flags.domain.rules import (
    CONTAINS,
    EQUALITY,
    IN_SEGMENT,
    MAX_VALUES,
    NUMBERS,
    TEXT,
    TIMES,
    VERSIONS,
    Scalar,
)
from undercroft.flags.domain.semantic_version import parse_version

_MAX_TEXT: Final = 4_096


def read_values(
    condition: dict[str, object], operator: str, pointer: str, problems: Problems
) -> tuple[Scalar, ...]:
    """Return the values of a condition, which has either ``value`` or ``values``."""
    if ("value" in condition) == ("values" in condition):
        problems.add(pointer, "give either `value` or `values`", "missing_value")
        return ()
    if "value" in condition:
        value = _read(condition["value"], operator, f"{pointer}/value", problems)
        return () if value is None else (value,)
    given = condition["values"]
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_VALUES:
        problems.add(f"{pointer}/values", f"values are a list of 1 to {MAX_VALUES}", "wrong_type")
        return ()
    read = (
        _read(value, operator, f"{pointer}/values/{index}", problems) for index, value in enumerate(given)
    )
    return tuple(value for value in read if value is not None)


def _read(value: object, operator: str, pointer: str, problems: Problems) -> Scalar | None:
    if not isinstance(value, (str, int, float)) or (isinstance(value, str) and len(value) > _MAX_TEXT):
        problems.add(
            pointer,
            f"a value is a text of at most {_MAX_TEXT} characters, a number or a boolean",
            "wrong_type",
        )
        return None
    if operator in TIMES:
        return _read_time(value, pointer, problems)
    wrong = _complaint(value, operator)
    if wrong is not None:
        problems.add(pointer, wrong, "invalid_version" if operator in VERSIONS else "wrong_type")
        return None
    return value


def _complaint(value: Scalar, operator: str) -> str | None:
    if operator in EQUALITY:
        return None
    if operator in NUMBERS:
        is_right = not isinstance(value, (bool, str))
        return None if is_right else f"{operator} compares with a number"
    if operator in VERSIONS:
        is_right = isinstance(value, str) and parse_version(value) is not None
        return None if is_right else "this is not a semantic version"
    if operator in TEXT or operator in {CONTAINS, IN_SEGMENT}:
        is_right = isinstance(value, str) and value != ""
        return None if is_right else f"{operator} needs a text that is not empty"
    return f"{operator} takes no value"


def _read_time(value: Scalar, pointer: str, problems: Problems) -> int | None:
    """Return unix seconds of a number, of an RFC 3339 time, or of a date (its midnight in UTC)."""
    try:
        if isinstance(value, (bool, str)):
            return int(_moment(str(value)).timestamp())
        # Through a moment too: what no calendar has cannot be compared with a written date.
        return int(datetime.fromtimestamp(int(value), UTC).timestamp())
    except (ValueError, OverflowError, OSError):
        problems.add(pointer, "a time is RFC 3339 with an offset, a date, or unix seconds", "invalid_time")
        return None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        return moment
    if "T" in text or " " in text:
        raise ValueError(text)
    return moment.replace(tzinfo=UTC)
