"""The work one evaluation may do, and the errors that end it early.

Rules are written by people and contexts come from anywhere, so an accepted rule can still ask for absurd amounts
of work (a ``merge`` that doubles inside a ``reduce``). Every operator whose cost depends on the size of a value pays
for it here before it starts, which bounds the time and the memory of an evaluation whatever the input.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Final

WORK_BUDGET: Final = 100_000
"""Units one flag may spend: a unit is one operator applied to a scalar, 0.1 to 1 microseconds."""

MAX_VALUE_DEPTH: Final = 100
"""Nesting of a value that an operator still compares, stringifies or hashes."""

FREE_TEXT: Final = 1024
"""Characters of text that an operator handles without paying."""

MAX_INTEGER: Final = 2**1024
"""Magnitude of an integer result: about where a float ends, and far below what makes Python slow."""


class RuleError(Exception):
    """A rule that cannot be evaluated.

    RuleError
    ├── MalformedRuleError   the definition is at fault: unknown operator or reference, too deep, too many operators
    └── WorkLimitError       definition and context together ask for more work than one evaluation may do
        └── ValueTooDeepError    a value is nested deeper than MAX_VALUE_DEPTH, or within itself
    """


class MalformedRuleError(RuleError):
    """The definition of a rule is at fault."""


class WorkLimitError(RuleError):
    """The evaluation would take more work than one flag may do."""


class ValueTooDeepError(WorkLimitError):
    """A value is nested too deep to be walked."""


class Run:
    """The state of one evaluation: its time (unix seconds) and the work that remains."""

    __slots__ = ("now", "remaining")

    def __init__(self, now: int, remaining: int = WORK_BUDGET) -> None:
        self.now = now
        self.remaining = remaining

    def charge(self, amount: int) -> None:
        """Pay for work about to be done; raises WorkLimitError when the budget does not cover it."""
        self.remaining -= amount
        if self.remaining < 0:
            detail = "The evaluation exceeds its work limit"
            raise WorkLimitError(detail)

    def charge_text(self, length: int) -> None:
        """Pay for text of this many characters (copying or searching it); short text is free."""
        if length > FREE_TEXT:
            self.charge(length >> 6)

    def charge_structure(self, value: object) -> None:
        """Pay for walking a whole value, level by level; raises ValueTooDeepError as well."""
        level: list[object] = [value]
        for _ in range(MAX_VALUE_DEPTH):
            self.charge(len(level))
            for item in level:
                if isinstance(item, str):
                    self.charge_text(len(item))
            level = list(chain.from_iterable(map(_children, level)))
            if not level:
                return
        detail = f"A value is nested deeper than {MAX_VALUE_DEPTH} levels"
        raise ValueTooDeepError(detail)


def _children(value: object) -> Iterable[object]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return value.values()
    return ()


def bounded(value: float) -> int | float:
    """Return an arithmetic result unless it is an integer that has grown out of hand (WorkLimitError)."""
    if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        detail = "An integer result is too large"
        raise WorkLimitError(detail)
    return value
