"""Compiles the operators of OPERATORS: folds literals, and specialises the comparisons that rules mostly consist of."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, cast

from undercroft.flags.domain.coercion import to_string
from undercroft.flags.domain.nodes import Node, Place, Rule, RuleCompiler, constant
from undercroft.flags.domain.operators import (
    EXACT_OPERATORS,
    OPERATORS,
    ORDERINGS,
    Operator,
    Ordering,
    concatenate,
    is_ordered,
    loosely_equal,
)
from undercroft.flags.domain.semantic_version import COMPARISONS, parse_version
from undercroft.flags.domain.work import FREE_TEXT, Run

_PAIR: Final = 2
_TRIPLE: Final = 3
_Specializer: TypeAlias = Callable[[RuleCompiler, list[Node]], Rule | None]


def compile_operator(compiler: RuleCompiler, name: str, arguments: list[object], place: Place) -> Node:
    """Compile an operator that evaluates all its arguments first."""
    nodes = [compiler.compile(argument, place) for argument in arguments]
    if all(node.is_constant for node in nodes):
        folded = _fold(OPERATORS[name], nodes, compiler.folding)
        if folded is not None:
            return folded
    specialize = _SPECIALIZERS.get(name)
    rule = specialize(compiler, nodes) if specialize else None
    return Node(
        rule or _general(OPERATORS[name], [node.rule for node in nodes]),
        cost=1 + sum(node.cost for node in nodes),
        is_exact=name in EXACT_OPERATORS,
    )


def _fold(apply: Operator, nodes: list[Node], run: Run) -> Node | None:
    try:
        return constant(apply(run, *[node.rule(None, run) for node in nodes]))
    except Exception:  # noqa: BLE001  Whatever it is, it happens again, and is reported, when the rule is evaluated.
        return None


def _general(apply: Operator, rules: list[Rule]) -> Rule:
    match rules:
        case [only]:
            return lambda data, run: apply(run, only(data, run))
        case [first, second]:
            return lambda data, run: apply(run, first(data, run), second(data, run))
        case _:
            return lambda data, run: apply(run, *[rule(data, run) for rule in rules])


def _with_literal(nodes: list[Node]) -> tuple[Node, object] | None:
    """Split a pair into its computed and its literal side, None when there are not one of each."""
    if len(nodes) != _PAIR:
        return None
    first, second = nodes
    if second.is_constant and not first.is_constant:
        return first, second.value
    if first.is_constant and not second.is_constant:
        return second, first.value
    return None


def _equality(_compiler: RuleCompiler, nodes: list[Node]) -> Rule | None:
    sides = _with_literal(nodes)
    if sides is None:
        return None
    node, literal = sides
    if isinstance(literal, str):
        return (
            _equals_text(node.rule, literal)
            if node.attribute is None
            else _member_is(node.attribute, literal)
        )
    return _equals_number(node.rule, literal) if type(literal) in (int, float) else None


def _equals_text(rule: Rule, literal: str) -> Rule:
    def equals(data: object, run: Run) -> bool:
        value = rule(data, run)
        return value == literal if type(value) is str else loosely_equal(run, value, literal)

    return equals


def _member_is(name: str, literal: str) -> Rule:
    def equals(data: Mapping[str, object], run: Run) -> bool:
        value = data.get(name)
        return value == literal if type(value) is str else loosely_equal(run, value, literal)

    return cast("Rule", equals)


def _equals_number(rule: Rule, literal: object) -> Rule:
    def equals(data: object, run: Run) -> bool:
        value = rule(data, run)
        return value == literal if type(value) is int else loosely_equal(run, value, literal)

    return equals


def _inequality(compiler: RuleCompiler, nodes: list[Node]) -> Rule | None:
    return _negated(_equality(compiler, nodes))


def _strict_equality(_compiler: RuleCompiler, nodes: list[Node]) -> Rule | None:
    sides = _with_literal(nodes)
    if sides is None or isinstance(sides[1], (list, dict)):
        return None
    rule, literal = sides[0].rule, sides[1]
    return lambda data, run: rule(data, run) == literal


def _strict_inequality(compiler: RuleCompiler, nodes: list[Node]) -> Rule | None:
    return _negated(_strict_equality(compiler, nodes))


def _negated(rule: Rule | None) -> Rule | None:
    return rule and (lambda data, run: not rule(data, run))


def _negation(_compiler: RuleCompiler, nodes: list[Node]) -> Rule | None:
    return _negated(nodes[0].test) if len(nodes) == 1 else None


def _comparison(compare: Ordering) -> _Specializer:
    """Specialise an ordering of two values for numbers against a literal number."""

    def specialize(_compiler: RuleCompiler, nodes: list[Node]) -> Rule | None:
        if len(nodes) != _PAIR:
            return None
        left, right = nodes
        bound = right.value
        if not right.is_constant or type(bound) not in (int, float):
            return _pair_ordering(compare, left.rule, right.rule)
        return _bounded(compare, left.rule, bound)

    return specialize


def _pair_ordering(compare: Ordering, left: Rule, right: Rule) -> Rule:
    return lambda data, run: is_ordered(run, compare, left(data, run), right(data, run))


def _bounded(compare: Ordering, rule: Rule, bound: object) -> Rule:
    def ordered(data: object, run: Run) -> bool:
        value = rule(data, run)
        if type(value) is int or type(value) is float:
            return compare(value, bound)
        return is_ordered(run, compare, value, bound)

    return ordered


def _membership(compiler: RuleCompiler, nodes: list[Node]) -> Rule | None:
    if len(nodes) != _PAIR or not nodes[1].is_constant or not isinstance(nodes[1].value, list):
        return None
    members = compiler.member_set(nodes[1].value)
    if members is None:
        return None
    name = nodes[0].attribute
    return _is_in(nodes[0].rule, members) if name is None else _member_is_in(name, members)


def _is_in(rule: Rule, members: frozenset[object]) -> Rule:
    def is_in(data: object, run: Run) -> bool:
        try:
            return rule(data, run) in members
        except TypeError:  # Lists and objects are not hashable, and no literal here is one.
            return False

    return is_in


def _member_is_in(name: str, members: frozenset[object]) -> Rule:
    def is_in(data: Mapping[str, object], _run: Run) -> bool:
        try:
            return data.get(name) in members
        except TypeError:
            return False

    return cast("Rule", is_in)


def _concatenation(_compiler: RuleCompiler, nodes: list[Node]) -> Rule | None:
    if len(nodes) != _PAIR:
        return None
    first, second = nodes[0].rule, nodes[1].rule

    def concatenated(data: object, run: Run) -> str:
        left, right = first(data, run), second(data, run)
        if type(left) is not str:
            left = to_string(left, run)
        if type(right) is not str:
            right = to_string(right, run)
        return left + right if len(left) + len(right) <= FREE_TEXT else concatenate(run, left, right)

    return concatenated


def _prefix(_compiler: RuleCompiler, nodes: list[Node]) -> Rule | None:
    affix = _literal_affix(nodes)
    if affix is None:
        return None
    rule = nodes[0].rule

    def starts_with(data: object, run: Run) -> bool | None:
        value = rule(data, run)
        return value.startswith(affix) if isinstance(value, str) else None

    return starts_with


def _suffix(_compiler: RuleCompiler, nodes: list[Node]) -> Rule | None:
    affix = _literal_affix(nodes)
    if affix is None:
        return None
    rule = nodes[0].rule

    def ends_with(data: object, run: Run) -> bool | None:
        value = rule(data, run)
        return value.endswith(affix) if isinstance(value, str) else None

    return ends_with


def _literal_affix(nodes: list[Node]) -> str | None:
    literal = nodes[1].value if len(nodes) == _PAIR and nodes[1].is_constant else None
    return literal if isinstance(literal, str) else None


def _version_comparison(_compiler: RuleCompiler, nodes: list[Node]) -> Rule | None:
    if len(nodes) != _TRIPLE or not (nodes[1].is_constant and nodes[2].is_constant):
        return None
    comparison, wanted = nodes[1].value, parse_version(nodes[2].value)
    compare = COMPARISONS.get(comparison) if isinstance(comparison, str) else None
    if compare is None or wanted is None:
        return None
    rule = nodes[0].rule

    def compared(data: object, run: Run) -> bool | None:
        value = rule(data, run)
        if isinstance(value, str):
            run.charge_text(len(value))
        version = parse_version(value)
        return None if version is None else compare(version, wanted)

    return compared


_SPECIALIZERS: Final[dict[str, _Specializer]] = {
    "==": _equality,
    "!=": _inequality,
    "===": _strict_equality,
    "!==": _strict_inequality,
    "!": _negation,
    **{name: _comparison(compare) for name, compare in ORDERINGS.items()},
    "in": _membership,
    "cat": _concatenation,
    "starts_with": _prefix,
    "ends_with": _suffix,
    "sem_ver": _version_comparison,
}
