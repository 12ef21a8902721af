"""Compiles a targeting rule (JsonLogic with flagd's operators) into nested closures.

The meaning is that of the reference evaluator (PyPI openfeature-flagd-core on panzi-json-logic), lazily too: a broken
part of a rule is an error only for the contexts that reach it. The differences are deliberate and few:

- ``/`` and ``%`` by zero give infinity or NaN as in JavaScript, where the reference raises.
- ``var`` ignores surplus arguments, and ``fractional`` inside a loop over scalars answers null: the reference raises.
- ``log`` prints nothing.
- ``$ref`` is resolved in targeting only, by value, and not inside evaluators: there the reference (a textual
  replacement) depends on the order of ``$evaluators``.
- An evaluation that exceeds the limits of this module or of ``work`` is an error, a bucketing value nested too
  deep is null, and text above 1,024 characters is never a number.
- A result that is a list or an object is an error even if a variant is named like Python's text for it, and so is a
  variant whose value is null.
- A definition that the reference refuses, together with its whole document, is one PARSE_ERROR; members of a flag
  that it does not know are ignored here (and refused by ``validation``).
- Any other error inside an operator, which the reference lets escape, is one GENERAL error of that flag.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from undercroft.flags.domain.compile_control_flow import compile_and, compile_if, compile_or
from undercroft.flags.domain.compile_fractional import compile_fractional
from undercroft.flags.domain.compile_loops import (
    compile_all,
    compile_filter,
    compile_map,
    compile_none,
    compile_reduce,
    compile_some,
)
from undercroft.flags.domain.compile_operators import compile_operator
from undercroft.flags.domain.compile_variables import compile_missing, compile_missing_some, compile_var
from undercroft.flags.domain.nodes import Node, Place, Rule, RuleCompiler, constant, is_scalar, scalar
from undercroft.flags.domain.operators import OPERATORS
from undercroft.flags.domain.work import MalformedRuleError, Run

MAX_OPERATIONS: Final = 2_000
"""Operators of one rule, evaluators included as often as they are referred to."""

MAX_LITERALS: Final = 200_000
"""Arguments and items of literal lists and objects, evaluators included as often as they are referred to."""

REFERENCE: Final = "$ref"

MemberSets: TypeAlias = dict[int, tuple[list[object], frozenset[object] | None]]
"""Sets of literal lists by the identity of the list, which is kept alive beside them."""

_Compile: TypeAlias = Callable[[RuleCompiler, list[object], Place], Node]

SPECIAL_FORMS: Final[dict[str, _Compile]] = {
    "if": compile_if,
    "?:": compile_if,
    "and": compile_and,
    "or": compile_or,
    "map": compile_map,
    "filter": compile_filter,
    "reduce": compile_reduce,
    "all": compile_all,
    "some": compile_some,
    "none": compile_none,
    "var": compile_var,
    "missing": compile_missing,
    "missing_some": compile_missing_some,
    "fractional": compile_fractional,
}
"""Operators that decide themselves which arguments they evaluate, and on which data."""

OPERATOR_NAMES: Final = frozenset(SPECIAL_FORMS) | frozenset(OPERATORS)


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule ready to run; ``reads_flagd_data`` tells whether its data must hold ``$flagd`` and ``targetingKey``."""

    rule: Rule
    reads_flagd_data: bool


def compile_rule(
    source: object, *, flag_key: str, evaluators: Mapping[str, object], member_sets: MemberSets
) -> CompiledRule:
    """Compile a rule; raises MalformedRuleError when it is too deep or too large.

    ``member_sets`` is shared by the rules of a document, so that a list in an evaluator is kept once.
    """
    compiler = _Compiler(flag_key, evaluators, member_sets)
    node = compiler.compile(source, Place())
    return CompiledRule(node.rule, compiler.reads_flagd_data)


class _Compiler:
    def __init__(self, flag_key: str, evaluators: Mapping[str, object], member_sets: MemberSets) -> None:
        self.flag_key = flag_key
        self.evaluators = evaluators
        self.reads_flagd_data = False
        self._member_sets = member_sets
        self._operations = 0
        self._literals = 0
        self.folding = Run(now=0)

    def compile(self, source: object, place: Place) -> Node:
        if is_scalar(source):
            return scalar(source)
        source, place = self._resolved(source, place)
        if isinstance(source, list):
            return self._compile_list(source, place.deeper())
        if not isinstance(source, dict):
            return scalar(source)
        if len(source) != 1:
            return constant(self.literal(source, place))
        return self._compile_operation(source, place)

    def _compile_list(self, source: list[object], place: Place) -> Node:
        self._count_literals(len(source))
        if all(map(is_scalar, source)):
            return constant(source)
        nodes = [self.compile(item, place) for item in source]
        if all(node.is_constant for node in nodes):
            return constant([node.value for node in nodes])
        rules = [node.rule for node in nodes]
        return Node(
            lambda data, run: [rule(data, run) for rule in rules],
            cost=1 + sum(node.cost for node in nodes),
            is_exact=True,
        )

    def _compile_operation(self, source: dict[str, object], place: Place) -> Node:
        self._operations += 1
        if self._operations > MAX_OPERATIONS:
            detail = f"The rule has more than {MAX_OPERATIONS} operations"
            raise MalformedRuleError(detail)
        ((name, given),) = source.items()
        arguments, inner = self._resolved(given, place.deeper())
        argument_list = arguments if isinstance(arguments, list) else [arguments]
        self._count_literals(len(argument_list))
        special = SPECIAL_FORMS.get(name)
        if special is not None:
            return special(self, argument_list, inner)
        if name in OPERATORS:
            return compile_operator(self, name, argument_list, inner)
        return Node(_unknown(name, given))

    def _count_literals(self, number: int) -> None:
        self._literals += number
        if self._literals > MAX_LITERALS:
            detail = f"The rule has more than {MAX_LITERALS} literals"
            raise MalformedRuleError(detail)

    def _resolved(self, source: object, place: Place) -> tuple[object, Place]:
        """Replace a reference by the evaluator it names; unknown and nested ones stay, and fail when reached."""
        if place.is_inlined or not isinstance(source, dict) or REFERENCE not in source:
            return source, place
        name = reference_name(source)
        if name is None or name not in self.evaluators:
            return source, place
        return self.evaluators[name], place.inlined()

    def literal(self, source: object, place: Place) -> object:
        source, place = self._resolved(source, place)
        if isinstance(source, list):
            inner = place.deeper()
            self._count_literals(len(source))
            return [self.literal(item, inner) for item in source]
        if isinstance(source, dict):
            inner = place.deeper()
            self._count_literals(len(source))
            return {name: self.literal(item, inner) for name, item in source.items()}
        return source

    def read_flagd_data(self) -> None:
        self.reads_flagd_data = True

    def member_set(self, members: list[object]) -> frozenset[object] | None:
        known = self._member_sets.get(id(members))
        if known is None:
            is_plain = all(member is None or isinstance(member, (str, int, float)) for member in members)
            known = members, frozenset(members) if is_plain else None
            self._member_sets[id(members)] = known
        return known[1]


def reference_name(source: object) -> str | None:
    """Return the evaluator that ``{"$ref": name}`` names, None for anything else."""
    if not isinstance(source, dict) or len(source) != 1:
        return None
    name = source.get(REFERENCE)
    return name if isinstance(name, str) else None


def _unknown(name: str, given: object) -> Rule:
    detail = f"Unknown operator {name[:100]!r}"
    if name == REFERENCE and isinstance(given, str):
        detail = f"Reference to an evaluator that does not exist: {given[:100]!r}"

    def unknown(_data: object, _run: Run) -> object:
        raise MalformedRuleError(detail)

    return unknown
