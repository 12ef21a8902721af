"""Compiles ``fractional``; a split with literal variants and weights is prepared once."""

from collections.abc import Sequence

from undercroft.flags.domain.canonical_cbor import encode_list_head, encode_text
from undercroft.flags.domain.compile_variables import FLAGD_MEMBER
from undercroft.flags.domain.fractional import (
    Split,
    choose_fraction,
    default_bucketing_value,
    encode_bucketing_value,
    read_split,
)
from undercroft.flags.domain.nodes import Node, Place, Rule, RuleCompiler, constant
from undercroft.flags.domain.work import FREE_TEXT, Run


def compile_fractional(compiler: RuleCompiler, arguments: list[object], place: Place) -> Node:
    """Compile ``[bucketing value?, [variant, weight?]...]``; without a value subjects are told apart by targetingKey."""
    if not arguments:
        return constant(None)
    nodes = [compiler.compile(argument, place) for argument in arguments]
    cost = 2 + sum(node.cost for node in nodes)
    is_shorthand = nodes[0].is_constant and isinstance(nodes[0].value, list)
    split = _literal_split(nodes if is_shorthand else nodes[1:])
    if split is not None and place.is_root and is_shorthand:
        return Node(_shorthand(compiler.flag_key, split), cost)
    flag_key = compiler.flag_key if place.is_root else None
    if split is None or is_shorthand:
        return Node(_general(flag_key, [node.rule for node in nodes]), cost)
    return Node(_prepared(flag_key, nodes, split), cost)


def _literal_split(buckets: Sequence[Node]) -> Split | None:
    return (
        read_split([bucket.value for bucket in buckets])
        if all(node.is_constant for node in buckets)
        else None
    )


def _shorthand(flag_key: str, split: Split) -> Rule:
    prefix = encode_list_head(2) + encode_text(flag_key)
    choose = split.choose

    def shorthand(data: object, run: Run) -> object:
        targeting_key = _member(data, "targetingKey")
        if not isinstance(targeting_key, str) or not targeting_key:
            return None
        encoded = encode_bucketing_value(targeting_key, run)
        return None if encoded is None else choose(prefix + encoded)

    return shorthand


def _prepared(flag_key: str | None, nodes: list[Node], split: Split) -> Rule:
    value_of = nodes[0].rule
    choose = split.choose

    def prepared(data: object, run: Run) -> object:
        value = value_of(data, run)
        if type(value) is str and len(value) <= FREE_TEXT:
            try:
                return choose(encode_text(value))
            except UnicodeEncodeError:
                return None
        if value is None:
            return None
        if isinstance(value, list):
            return _choose(data, run, flag_key, [value, *(bucket.value for bucket in nodes[1:])])
        encoded = encode_bucketing_value(value, run)
        return None if encoded is None else choose(encoded)

    return prepared


def _general(flag_key: str | None, rules: Sequence[Rule]) -> Rule:
    def fractional(data: object, run: Run) -> object:
        return _choose(data, run, flag_key, [rule(data, run) for rule in rules])

    return fractional


def _choose(data: object, run: Run, flag_key: str | None, arguments: list[object]) -> object:
    """Choose by evaluated arguments; ``flag_key`` is None inside a loop, where ``$flagd`` is what the item says."""
    value = arguments[0]
    if not isinstance(value, list):
        return choose_fraction(value, arguments[1:], run)
    key = _member(_member(data, FLAGD_MEMBER, {}), "flagKey", "") if flag_key is None else flag_key
    return choose_fraction(default_bucketing_value(key, _member(data, "targetingKey")), arguments, run)


def _member(data: object, name: str, default: object = None) -> object:
    return data.get(name, default) if isinstance(data, dict) else default
