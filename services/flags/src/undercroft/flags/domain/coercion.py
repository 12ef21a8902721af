"""JsonLogic's conversions between JSON values, as the reference evaluator (PyPI panzi-json-logic) does them.

Two of its habits differ from JavaScript and are kept, because a flag must mean the same in every flagd evaluator of
this family: booleans count as the integers 0 and 1 (and print as ``True`` and ``False``), null prints as ``null``.
"""

from math import isinf, isnan
from typing import Final

from undercroft.flags.domain.work import FREE_TEXT, Run

NAN: Final = float("nan")
_WORDS_FOR_INFINITY: Final = frozenset({"inf", "+inf", "-inf"})


def is_truthy(value: object) -> bool:
    """Tell JsonLogic truth: null, false, 0, NaN, "" and [] are false; an empty object is true."""
    if value:
        return not (type(value) is float and isnan(value))
    return type(value) is dict


def to_number(value: object) -> int | float:
    """Convert as JavaScript's Number() does, NaN when there is no number in it."""
    while isinstance(value, list):
        if len(value) != 1:
            return NAN if value else 0
        value = value[0]
    if isinstance(value, (int, float)):
        return value
    if value is None:
        return 0
    return _number_in(value) if isinstance(value, str) else NAN


def _number_in(text: str) -> float:
    # Longer text is never a number that someone meant, and parsing it is not free.
    if len(text) > FREE_TEXT:
        return NAN
    try:
        number = float(text)
    except ValueError:
        return NAN
    return NAN if isinf(number) and text.strip().lower() in _WORDS_FOR_INFINITY else number


def to_string(value: object, run: Run) -> str:
    """Convert as JavaScript's String() does; lists join their items with commas."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        run.charge_structure(value)
    return _printed(value)


def _printed(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, int):
        return str(value)
    if value is None:
        return "null"
    if isinstance(value, list):
        return ",".join(map(_printed, value))
    return "[object Object]"
