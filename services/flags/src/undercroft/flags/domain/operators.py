"""The operators that work on evaluated arguments: comparison, arithmetic, text, lists, and flagd's own.

Each takes the Run and then as many arguments as the rule gave; absent ones count as null and surplus ones are ignored.
flagd's own operators answer null, not false, to arguments they cannot use.
"""

import operator
from collections.abc import Callable
from math import copysign, inf, isnan
from typing import Final, Protocol, TypeAlias, cast

from undercroft.flags.domain.coercion import NAN, is_truthy, to_number, to_string
from undercroft.flags.domain.semantic_version import compare_versions
from undercroft.flags.domain.work import Run, bounded

Ordering: TypeAlias = Callable[[object, object], bool]
"""An order of two numbers or of two strings."""

ORDERINGS: Final[dict[str, Ordering]] = {
    "<": cast("Ordering", operator.lt),
    "<=": cast("Ordering", operator.le),
    ">": cast("Ordering", operator.gt),
    ">=": cast("Ordering", operator.ge),
}


class Operator(Protocol):
    """An operator: the state of the evaluation, then the evaluated arguments of the rule."""

    def __call__(self, run: Run, /, *arguments: object) -> object:
        """Apply the operator."""
        ...


def loosely_equal(run: Run, a: object = None, b: object = None, *_ignored: object) -> bool:
    """Compare with type coercion; lists and objects equal only themselves."""
    if type(a) is type(b):
        return a is b if isinstance(a, (list, dict)) else a == b
    if isinstance(a, (int, float)):
        return a == to_number(b)
    if isinstance(b, (int, float)):
        return to_number(a) == b
    if a is None or b is None or not (isinstance(a, str) or isinstance(b, str)):
        return False
    return to_string(a, run) == to_string(b, run)


def loosely_unequal(run: Run, *arguments: object) -> bool:
    """Negate loosely_equal."""
    return not loosely_equal(run, *arguments)


def strictly_equal(run: Run, a: object = None, b: object = None, *_ignored: object) -> bool:
    """Compare without coercion, lists and objects by content (as the reference does; numbers of any type compare)."""
    if isinstance(a, (list, dict)) and isinstance(b, (list, dict)):
        run.charge_structure(a)
        run.charge_structure(b)
    return a == b


def strictly_unequal(run: Run, *arguments: object) -> bool:
    """Negate strictly_equal."""
    return not strictly_equal(run, *arguments)


def is_ordered(run: Run, compare: Ordering, a: object, b: object) -> bool:
    """Order two values: as numbers when either is one, else as text when either is text, else as numbers."""
    if (
        isinstance(a, (int, float))
        or isinstance(b, (int, float))
        or not (isinstance(a, str) or isinstance(b, str))
    ):
        return compare(to_number(a), to_number(b))
    return compare(to_string(a, run), to_string(b, run))


def _ordering(compare: Ordering) -> Operator:
    def ordered(run: Run, /, a: object = None, b: object = None, c: object = None, *_ignored: object) -> bool:
        return is_ordered(run, compare, a, b) and (c is None or is_ordered(run, compare, b, c))

    return ordered


def negate(_run: Run, a: object = None, *_ignored: object) -> bool:
    """Tell whether the value is falsy."""
    return not is_truthy(a)


def affirm(_run: Run, a: object = None, *_ignored: object) -> bool:
    """Tell whether the value is truthy."""
    return is_truthy(a)


def add(_run: Run, *arguments: object) -> int | float:
    """Sum numbers."""
    # Not sum(): from Python 3.12 it compensates rounding errors, and the reference evaluator does not.
    total: int | float = 0
    for argument in arguments:
        total += to_number(argument)
    return bounded(total)


def subtract(_run: Run, a: object = None, b: object = None, *_ignored: object) -> int | float:
    """Subtract, or negate a single number."""
    return bounded(-to_number(a) if b is None else to_number(a) - to_number(b))


def multiply(_run: Run, *arguments: object) -> int | float:
    """Multiply numbers."""
    product: int | float = 1
    for argument in arguments:
        product = bounded(product * to_number(argument))
    return product


def divide(_run: Run, a: object = None, b: object = None, *_ignored: object) -> int | float:
    """Divide; by zero it answers infinity or NaN, as JsonLogic's JavaScript does."""
    dividend, divisor = to_number(a), to_number(b)
    if divisor:
        return dividend / divisor
    return NAN if isnan(dividend) or dividend == 0 else copysign(inf, dividend) * copysign(1, divisor)


def modulo(_run: Run, a: object = None, b: object = None, *_ignored: object) -> int | float:
    """Return the remainder with the sign of the divisor; NaN for zero."""
    dividend, divisor = to_number(a), to_number(b)
    return dividend % divisor if divisor else NAN


def minimum(_run: Run, *arguments: object) -> int | float:
    """Return the smallest number, NaN when there is none."""
    return min(map(to_number, arguments), default=NAN)


def maximum(_run: Run, *arguments: object) -> int | float:
    """Return the largest number, NaN when there is none."""
    return max(map(to_number, arguments), default=NAN)


def contains(run: Run, needle: object = None, haystack: object = None, *_ignored: object) -> bool:
    """Tell membership of a list or of a string; false for anything else."""
    if isinstance(haystack, list):
        if isinstance(needle, (list, dict)):
            run.charge_structure(haystack)
        run.charge(len(haystack) >> 2)
        return needle in haystack
    if not isinstance(haystack, str):
        return False
    run.charge_text(len(haystack))
    return to_string(needle, run) in haystack


def concatenate(run: Run, *arguments: object) -> str:
    """Join values as text."""
    texts = [to_string(argument, run) for argument in arguments]
    run.charge_text(sum(map(len, texts)))
    return "".join(texts)


def substring(
    run: Run, text: object = None, start: object = None, length: object = None, *_ignored: object
) -> str:
    """Cut text: a negative start counts from the end, a negative length leaves that many characters out."""
    string = to_string(text, run)
    run.charge_text(len(string))
    begin = _substring_start(to_number(start), len(string))
    if length is None:
        return string[begin:]
    wanted = to_number(length)
    return "" if isnan(wanted) else string[begin : _substring_end(wanted, begin, len(string))]


def _substring_start(index: float, length: int) -> int:
    if isnan(index) or index <= -length:
        return 0
    return length - int(-index) if index < 0 else int(min(index, length))


def _substring_end(wanted: float, begin: int, length: int) -> int:
    count = int(max(-length, min(wanted, length)))
    return begin + count if count >= 0 else max(begin, length + count)


def merge(run: Run, *arguments: object) -> list[object]:
    """Join lists into one; other values count as lists of one."""
    items: list[object] = []
    for argument in arguments:
        if isinstance(argument, list):
            run.charge(len(argument))
            items.extend(argument)
        else:
            items.append(argument)
    return items


def log(_run: Run, a: object = None, *_ignored: object) -> object:
    """Return the value; a server prints nothing on behalf of a rule."""
    return a


def starts_with(_run: Run, /, *arguments: object) -> bool | None:
    """Tell whether the first of exactly two strings starts with the second, null otherwise."""
    pair = _two_strings(arguments)
    return None if pair is None else pair[0].startswith(pair[1])


def ends_with(_run: Run, /, *arguments: object) -> bool | None:
    """Tell whether the first of exactly two strings ends with the second, null otherwise."""
    pair = _two_strings(arguments)
    return None if pair is None else pair[0].endswith(pair[1])


def _two_strings(arguments: tuple[object, ...]) -> tuple[str, str] | None:
    match arguments:
        case (str(first), str(second)):
            return first, second
        case _:
            return None


def semantic_version(run: Run, /, *arguments: object) -> bool | None:
    """Compare two versions: exactly ``[version, comparison, version]``, null otherwise."""
    for argument in arguments:
        if isinstance(argument, str):
            run.charge_text(len(argument))
    match arguments:
        case (left, comparison, right):
            return compare_versions(left, comparison, right)
        case _:
            return None


OPERATORS: Final[dict[str, Operator]] = {
    "==": loosely_equal,
    "!=": loosely_unequal,
    "===": strictly_equal,
    "!==": strictly_unequal,
    **{name: _ordering(compare) for name, compare in ORDERINGS.items()},
    "!": negate,
    "!!": affirm,
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": modulo,
    "min": minimum,
    "max": maximum,
    "in": contains,
    "cat": concatenate,
    "substr": substring,
    "merge": merge,
    "log": log,
    "starts_with": starts_with,
    "ends_with": ends_with,
    "sem_ver": semantic_version,
}
"""Operators by their JsonLogic name. The control flow, the loops and the access to data are compiled elsewhere."""

EXACT_OPERATORS: Final = frozenset(OPERATORS) - {"+", "-", "*", "/", "%", "min", "max", "log"}
"""Operators whose results Python and JsonLogic agree about when asked for truth (never NaN, never an object)."""
