"""What a rule compiles into: a closure, and what the compiler knows about it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, Protocol, TypeAlias

from undercroft.flags.domain.coercion import is_truthy
from undercroft.flags.domain.work import MalformedRuleError, Run

MAX_DEPTH: Final = 64
"""Operators and literal lists within one another, evaluators included."""

Rule: TypeAlias = Callable[[object, Run], object]
"""A compiled rule: takes the data that ``var`` reads and the state of the evaluation."""


class Place(NamedTuple):
    """Where a rule stands in its definition.

    At the root, ``var`` reads the evaluation context (always a mapping); inside a loop it reads the item.
    Inside an evaluator no further ``$ref`` is resolved.
    """

    is_root: bool = True
    is_inlined: bool = False
    depth: int = 0

    def deeper(self) -> "Place":
        """Return the place one level down; raises MalformedRuleError below MAX_DEPTH."""
        if self.depth >= MAX_DEPTH:
            detail = f"The rule is nested deeper than {MAX_DEPTH} levels"
            raise MalformedRuleError(detail)
        return Place(self.is_root, self.is_inlined, self.depth + 1)

    def inlined(self) -> "Place":
        """Return the place of an evaluator that is referred to from here."""
        return Place(self.is_root, is_inlined=True, depth=self.depth)

    def in_loop(self) -> "Place":
        """Return the place of the body of a loop."""
        return Place(is_root=False, is_inlined=self.is_inlined, depth=self.depth)


@dataclass(slots=True)
class Node:
    """A compiled rule with the facts that allow faster closures around it.

    ``cost`` is the work units of one call. ``is_exact`` means that Python's truth of the result is JsonLogic's.
    ``attribute`` names the member of the context that the rule reads, when that is all it does.
    """

    rule: Rule
    cost: int = 1
    is_constant: bool = False
    value: object = None
    is_exact: bool = False
    attribute: str | None = None

    @property
    def test(self) -> Rule:
        """A rule whose result may be asked for truth by Python."""
        return self.rule if self.is_exact else _tested(self.rule)


class RuleCompiler(Protocol):
    """What the parts of the compiler need of the whole; ``folding`` pays for computing literals beforehand."""

    flag_key: str
    folding: Run

    def compile(self, source: object, place: Place) -> Node:
        """Compile a rule or a literal."""
        ...

    def literal(self, source: object, place: Place) -> object:
        """Return a fresh copy of a value that is not evaluated, its references replaced."""
        ...

    def read_flagd_data(self) -> None:
        """Note that the rule reads the context as a whole or ``$flagd``, which must then be put into it."""
        ...

    def member_set(self, members: list[object]) -> frozenset[object] | None:
        """Return the members of a literal list as a set, None when it holds lists or objects."""
        ...


def constant(value: object) -> Node:
    """Make the node of a literal; lists are copied on every evaluation, because identity is observable by ``==``."""
    if isinstance(value, list):
        return Node(_copied(value), 1 + _size(value), is_constant=True, value=value, is_exact=True)
    return Node(_returned(value), 1, is_constant=True, value=value, is_exact=bool(value) is is_truthy(value))


def scalar(value: object) -> Node:
    """Make the node of a literal that is no list or object; those of usual literals are shared."""
    if isinstance(value, str):
        return _text(value) if len(value) <= _MAX_SHARED_LENGTH else constant(value)
    if value is None or isinstance(value, bool):
        return _SIMPLE[value]
    return constant(value)


_MAX_SHARED_LENGTH: Final = 64


@lru_cache(maxsize=4096)
def _text(value: str) -> Node:
    return constant(value)


def is_scalar(value: object) -> bool:
    """Tell whether a value is neither a list nor an object."""
    return not isinstance(value, (list, dict))


def _returned(value: object) -> Rule:
    def literal(_data: object, _run: Run) -> object:
        return value

    return literal


def _copied(value: list[object]) -> Rule:
    if all(map(is_scalar, value)):
        return lambda _data, _run: value.copy()
    return lambda _data, _run: copy_lists(value)


def copy_lists(value: object) -> object:
    """Copy the lists of a literal (of bounded depth); objects keep their identity."""
    return [copy_lists(item) for item in value] if isinstance(value, list) else value


def _size(value: list[object]) -> int:
    """Estimate the work of copying a literal list."""
    return 1 + (len(value) >> 4) + sum(_size(item) for item in value if isinstance(item, list))


def _tested(rule: Rule) -> Rule:
    def test(data: object, run: Run) -> bool:
        return is_truthy(rule(data, run))

    return test


_SIMPLE: Final = {value: constant(value) for value in (None, True, False)}
