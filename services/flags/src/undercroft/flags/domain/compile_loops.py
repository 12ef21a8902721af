"""Compiles the operators over lists: ``map``, ``filter``, ``reduce``, ``all``, ``some`` and ``none``.

Inside them ``var`` reads the current item. A loop pays for all its iterations before the first one.
"""

from typing import Final

from undercroft.flags.domain.nodes import Node, Place, Rule, RuleCompiler, constant
from undercroft.flags.domain.work import Run

_PAIR: Final = 2


def _compile_source(compiler: RuleCompiler, arguments: list[object], place: Place) -> tuple[Node, Node]:
    """Compile the list and the body of a loop; an absent body is null."""
    items = compiler.compile(arguments[0], place)
    body = compiler.compile(arguments[1], place.in_loop()) if len(arguments) >= _PAIR else constant(None)
    return items, body


def compile_map(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile to the list of the body's results; empty for anything but a list."""
    if not arguments:
        return constant([])
    items, body = _compile_source(compiler, arguments, place)
    source, rule, cost = items.rule, body.rule, body.cost

    def mapped(data: object, run: Run) -> list[object]:
        values = source(data, run)
        if not isinstance(values, list):
            return []
        run.charge(len(values) * cost)
        return [rule(value, run) for value in values]

    return Node(mapped, cost=1 + items.cost, is_exact=True)


def compile_filter(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile to the items for which the body is truthy; empty for anything but a list."""
    if len(arguments) < _PAIR:
        return constant([])
    items, body = _compile_source(compiler, arguments, place)
    source, test, cost = items.rule, body.test, body.cost

    def filtered(data: object, run: Run) -> list[object]:
        values = source(data, run)
        if not isinstance(values, list):
            return []
        run.charge(len(values) * cost)
        return [value for value in values if test(value, run)]

    return Node(filtered, cost=1 + items.cost, is_exact=True)


def compile_reduce(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile to the last accumulator; the body reads ``current`` and ``accumulator``.

    The initial accumulator is taken literally: the reference evaluator does not evaluate it.
    """
    if not arguments:
        return constant(None)
    items, body = _compile_source(compiler, arguments, place)
    initial = compiler.literal(arguments[2], place) if len(arguments) > _PAIR else None
    source, rule, cost = items.rule, body.rule, body.cost

    def reduced(data: object, run: Run) -> object:
        values = source(data, run)
        if not isinstance(values, list):
            return initial
        run.charge(len(values) * cost)
        state: dict[str, object] = {"accumulator": initial}
        for value in values:
            state["current"] = value
            state["accumulator"] = rule(state, run)
        return state["accumulator"]

    return Node(reduced, cost=1 + items.cost)


def compile_all(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile to whether the body holds for every item; false for an empty list, as JsonLogic defines it."""
    if len(arguments) < _PAIR:
        return constant(value=False)
    items, body = _compile_source(compiler, arguments, place)
    source, test, cost = items.rule, body.test, body.cost

    def all_hold(data: object, run: Run) -> bool:
        values = source(data, run)
        if not isinstance(values, list) or not values:
            return False
        run.charge(len(values) * cost)
        return all(test(value, run) for value in values)

    return Node(all_hold, cost=1 + items.cost, is_exact=True)


def compile_some(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile to whether the body holds for an item."""
    if len(arguments) < _PAIR:
        return constant(value=False)
    rule, cost = _any_holds(compiler, arguments, place, found=True)
    return Node(rule, cost, is_exact=True)


def compile_none(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile to whether the body holds for no item; true for anything but a list."""
    if len(arguments) < _PAIR:
        return constant(value=True)
    rule, cost = _any_holds(compiler, arguments, place, found=False)
    return Node(rule, cost, is_exact=True)


def _any_holds(
    compiler: RuleCompiler, arguments: list[object], place: Place, *, found: bool
) -> tuple[Rule, int]:
    items, body = _compile_source(compiler, arguments, place)
    source, test, cost = items.rule, body.test, body.cost

    def any_holds(data: object, run: Run) -> bool:
        values = source(data, run)
        if not isinstance(values, list):
            return not found
        run.charge(len(values) * cost)
        return found if any(test(value, run) for value in values) else not found

    return any_holds, 1 + items.cost
