"""Compiles ``var``, ``missing`` and ``missing_some``; literal paths are split once.

``$flagd`` is not in the caller's context. The two usual paths into it are answered directly; a rule that may read
anything else of it, or the context as a whole, tells the compiler, so that only such flags pay for putting it there.
"""

from collections.abc import Mapping
from typing import Final, Protocol, cast

from undercroft.flags.domain.nodes import Node, Place, Rule, RuleCompiler, constant
from undercroft.flags.domain.variables import follow, look_up, missing, missing_some
from undercroft.flags.domain.work import Run

FLAGD_MEMBER: Final = "$flagd"
_NOTHING: Final = constant(None)
_PAIR: Final = 2


def compile_var(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile the access to a member of the data by dotted path, with an optional default."""
    match arguments:
        case [str(path)] if path:
            return _compile_path(compiler, path, _NOTHING, place)
    nodes = [compiler.compile(argument, place) for argument in arguments]
    if (
        nodes
        and isinstance(nodes[0].value, str)
        and nodes[0].value
        and all(node.is_constant for node in nodes)
    ):
        return _compile_path(compiler, nodes[0].value, nodes[1] if len(nodes) > 1 else _NOTHING, place)
    if place.is_root:
        compiler.read_flagd_data()
    # Surplus arguments are evaluated too: one of them may be an error.
    rules = [node.rule for node in nodes]

    def computed(data: object, run: Run) -> object:
        return look_up(data, run, *[rule(data, run) for rule in rules])

    return Node(computed, cost=1 + sum(node.cost for node in nodes))


def _compile_path(compiler: RuleCompiler, key: str, default: Node, place: Place) -> Node:
    path = tuple(key.split("."))
    has_default = default.value is not None
    if place.is_root and path[0] == FLAGD_MEMBER:
        if path == (FLAGD_MEMBER, "flagKey"):
            return constant(compiler.flag_key)
        if path == (FLAGD_MEMBER, "timestamp"):
            return Node(lambda _data, run: run.now, is_exact=True)
        compiler.read_flagd_data()
    if not place.is_root or has_default or len(path) > _PAIR:
        return Node(_path(path, default), cost=1 + len(path) + default.cost)
    if len(path) == 1:
        return Node(_member(key), attribute=key)
    return Node(_nested_member(*path), cost=2)


def _path(path: tuple[str, ...], default: Node) -> Rule:
    value = default.value
    if isinstance(value, list):
        fresh = default.rule
        return lambda data, run: follow(data, path, fresh(data, run))
    return lambda data, _run: follow(data, path, value)


def _member(name: str) -> Rule:
    def member(data: Mapping[str, object], _run: Run) -> object:
        return data.get(name)

    return cast("Rule", member)


def _nested_member(outer: str, inner: str) -> Rule:
    rest = (inner,)

    def member(data: Mapping[str, object], _run: Run) -> object:
        value = data.get(outer)
        return value.get(inner) if type(value) is dict else follow(value, rest)

    return cast("Rule", member)


class _KeysOperator(Protocol):
    def __call__(self, data: object, run: Run, /, *arguments: object) -> list[object]: ...


def compile_missing(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile to the list of the keys that the data lacks."""
    return _compile_over_keys(compiler, missing, arguments, place)


def compile_missing_some(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile to the list of missing keys, empty when enough of them are present."""
    return _compile_over_keys(compiler, missing_some, arguments, place)


def _compile_over_keys(
    compiler: RuleCompiler, operator: _KeysOperator, arguments: list[object], place: Place
) -> Node:
    nodes = [compiler.compile(argument, place) for argument in arguments]
    if place.is_root and not all(_avoids_flagd(node) for node in nodes):
        compiler.read_flagd_data()
    rules = [node.rule for node in nodes]

    def keys(data: object, run: Run) -> list[object]:
        return operator(data, run, *[rule(data, run) for rule in rules])

    return Node(keys, cost=1 + sum(node.cost for node in nodes), is_exact=True)


def _avoids_flagd(node: Node) -> bool:
    keys = node.value if isinstance(node.value, list) else [node.value]
    return node.is_constant and not any(isinstance(key, (str, list)) and FLAGD_MEMBER in key for key in keys)
