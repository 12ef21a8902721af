"""Compiles ``if`` (and ``?:``), ``and`` and ``or``: they evaluate only the arguments they need."""

from collections.abc import Sequence
from typing import Final

from undercroft.flags.domain.coercion import is_truthy
from undercroft.flags.domain.nodes import Node, Place, Rule, RuleCompiler, constant
from undercroft.flags.domain.work import Run

_NOTHING: Final = constant(None)
_PAIR: Final = 2


def compile_if(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile a chain of condition and result pairs and an optional last result; null when nothing holds."""
    nodes = [compiler.compile(argument, place) for argument in arguments]
    otherwise = nodes.pop() if len(nodes) % 2 else _NOTHING
    branches: list[tuple[Node, Node]] = []
    for test, then in zip(nodes[::2], nodes[1::2], strict=True):
        if not test.is_constant:
            branches.append((test, then))
        elif is_truthy(test.value):
            otherwise = then
            break
    if not branches:
        return otherwise
    results = [*(then for _, then in branches), otherwise]
    return Node(
        _branching(branches, otherwise),
        cost=1 + sum(test.cost for test, _ in branches) + sum(result.cost for result in results),
        is_exact=all(result.is_exact for result in results),
    )


def _branching(branches: Sequence[tuple[Node, Node]], otherwise: Node) -> Rule:
    if len(branches) > 1:
        return _chain([(test.test, then.rule) for test, then in branches], otherwise.rule)
    (test, then) = branches[0]
    if _is_scalar(then) and _is_scalar(otherwise):
        return _choice_of_literals(test.test, then.value, otherwise.value)
    return _choice(test.test, then.rule, otherwise.rule)


def _is_scalar(node: Node) -> bool:
    return node.is_constant and not isinstance(node.value, list)


def _choice_of_literals(test: Rule, then: object, otherwise: object) -> Rule:
    def choice(data: object, run: Run) -> object:
        return then if test(data, run) else otherwise

    return choice


def _choice(test: Rule, then: Rule, otherwise: Rule) -> Rule:
    def choice(data: object, run: Run) -> object:
        return then(data, run) if test(data, run) else otherwise(data, run)

    return choice


def _chain(branches: list[tuple[Rule, Rule]], otherwise: Rule) -> Rule:
    def chain(data: object, run: Run) -> object:
        for test, then in branches:
            if test(data, run):
                return then(data, run)
        return otherwise(data, run)

    return chain


def compile_and(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile to the first falsy operand, or the last one."""
    return _junction(compiler, arguments, place, stops_at=False)


def compile_or(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile to the first truthy operand, or the last one."""
    return _junction(compiler, arguments, place, stops_at=True)


def _junction(compiler: RuleCompiler, arguments: list[object], place: Place, *, stops_at: bool) -> Node:
    operands = _needed([compiler.compile(argument, place) for argument in arguments], stops_at=stops_at)
    if len(operands) == 1:
        return operands[0]
    is_exact = all(operand.is_exact for operand in operands)
    rules = [operand.rule for operand in operands]
    if not is_exact:
        rule = _disjunction(rules) if stops_at else _conjunction(rules)
    elif len(rules) > _PAIR:
        rule = _exact_disjunction(rules) if stops_at else _exact_conjunction(rules)
    else:
        rule = _exact_pair(rules[0], rules[1], stops_at=stops_at)
    return Node(rule, cost=1 + sum(operand.cost for operand in operands), is_exact=is_exact)


def _needed(operands: list[Node], *, stops_at: bool) -> list[Node]:
    """Drop literals that never decide, and whatever follows one that always does."""
    needed: list[Node] = []
    for operand in operands[:-1]:
        if not operand.is_constant:
            needed.append(operand)
        elif is_truthy(operand.value) is stops_at:
            return [*needed, operand]
    return [*needed, operands[-1] if operands else _NOTHING]


def _exact_pair(first: Rule, second: Rule, *, stops_at: bool) -> Rule:
    def either(data: object, run: Run) -> object:
        return first(data, run) or second(data, run)

    def both(data: object, run: Run) -> object:
        return first(data, run) and second(data, run)

    return either if stops_at else both


def _exact_conjunction(rules: list[Rule]) -> Rule:
    def conjunction(data: object, run: Run) -> object:
        result: object = None
        for rule in rules:
            result = rule(data, run)
            if not result:
                return result
        return result

    return conjunction


def _exact_disjunction(rules: list[Rule]) -> Rule:
    def disjunction(data: object, run: Run) -> object:
        result: object = None
        for rule in rules:
            result = rule(data, run)
            if result:
                return result
        return result

    return disjunction


def _conjunction(rules: list[Rule]) -> Rule:
    def conjunction(data: object, run: Run) -> object:
        result: object = None
        for rule in rules:
            result = rule(data, run)
            if not is_truthy(result):
                return result
        return result

    return conjunction


def _disjunction(rules: list[Rule]) -> Rule:
    def disjunction(data: object, run: Run) -> object:
        result: object = None
        for rule in rules:
            result = rule(data, run)
            if is_truthy(result):
                return result
        return result

    return disjunction
