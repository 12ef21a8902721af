"""Compiles rules into flagd targeting (JsonLogic), such that flagd-core answers what a reader of the rules expects.

JsonLogic coerces: a missing attribute counts as 0 and as the text "null". What a condition compares is therefore
guarded, so that it holds only for values of the kind that it is about.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from undercroft.flags.domain.json_logic import REFERENCE
from undercroft.flags.domain.rules import (
    CLOCK,
    CONTAINS,
    EQUALITY,
    EXISTS,
    HUNDREDTHS,
    IN_SEGMENT,
    NUMBERS,
    TIMES,
    VERSIONS,
    Bucketing,
    Condition,
    Rollout,
    Rule,
    RuleSet,
    Scalar,
    WeightedSplit,
)

SEGMENT_PREFIX: Final = "segment:"
EVERYBODY: Final = HUNDREDTHS * HUNDREDTHS
_SECONDS_LENGTH: Final = 19
_DATE_LENGTH: Final = 10


def evaluator_name(segment: str) -> str:
    """Return the name that a segment has in ``$evaluators``."""
    return SEGMENT_PREFIX + segment


def compile_rules(key: str, rules: RuleSet, prerequisites: Sequence[object]) -> dict[str, object] | None:
    """Return the targeting of a flag; ``prerequisites`` are compiled already. None when there is nothing to decide."""
    branches: list[object] = []
    if prerequisites:
        branches += [_negation(conjunction(prerequisites)), rules.unmet_variant]
    for rule in rules.rules:
        branches += [conjunction(list(tests_of(key, rule))), result_of(key, rule)]
    return {"if": branches} if branches else None


def compile_segment(conditions: Sequence[Condition], segments: Mapping[str, object]) -> object:
    """Return the evaluator of a segment; segments in it are written out, since evaluators do not nest."""
    return conjunction([compile_condition(condition, segments) for condition in conditions])


def tests_of(key: str, rule: Rule) -> Sequence[object]:
    """Return what must hold for a rule to apply: its conditions, what its split needs, and its rollout."""
    tests = [compile_condition(condition) for condition in rule.conditions]
    if isinstance(rule.result, WeightedSplit):
        tests.append(_is_present(rule.result.bucketing))
    if rule.rollout is not None:
        tests += _rollout_tests(key, rule.rollout)
    return tests


def result_of(key: str, rule: Rule) -> object:
    """Return what a rule leads to: a variant's name, or the split that chooses one."""
    if isinstance(rule.result, str):
        return rule.result
    buckets = [[name, weight] for name, weight in rule.result.weights]
    return {"fractional": [split_value(key, rule.result.bucketing), *buckets]}


def split_value(key: str, bucketing: Bucketing) -> dict[str, object]:
    """Return the text that a split hashes."""
    return {"cat": [f"{bucketing.seed or key}:", _variable(bucketing.attribute)]}


def rollout_value(key: str, bucketing: Bucketing) -> dict[str, object]:
    """Return the text that a rollout hashes: another one, or a split after it would see only its first buckets."""
    return {"cat": [f"{bucketing.seed or key}/rollout:", _variable(bucketing.attribute)]}


def conjunction(tests: Sequence[object]) -> object:
    """Return the rule that holds when all do."""
    return _joined("and", tests) if tests else True


def compile_condition(condition: Condition, segments: Mapping[str, object] | None = None) -> object:
    """Return the rule of a condition; with ``segments``, those are written out instead of referred to."""
    test = _test(condition, segments)
    return _negation(test) if condition.is_negated else test


def _test(condition: Condition, segments: Mapping[str, object] | None) -> object:
    operator, values = condition.operator, condition.values
    if operator == IN_SEGMENT:
        return _joined("or", [_segment(str(value), segments) for value in values])
    variable = _variable(condition.attribute or "")
    if operator == EXISTS:
        return {"!==": [variable, None]}
    if operator in EQUALITY:
        return {"===": [variable, values[0]]} if len(values) == 1 else {"in": [variable, list(values)]}
    if operator in NUMBERS:
        tests = [{NUMBERS[operator]: [variable, value]} for value in values]
        return {"and": [{"!==": [variable, None]}, _joined("or", tests)]}
    if operator in TIMES:
        return _time_test(condition, variable)
    return _joined("or", [_text_test(operator, variable, value) for value in values])


def _text_test(operator: str, variable: object, value: Scalar) -> dict[str, object]:
    if operator == CONTAINS:
        return {"in": [value, variable]}
    if operator in VERSIONS:
        return {"sem_ver": [variable, VERSIONS[operator], value]}
    return {operator: [variable, value]}


def _time_test(condition: Condition, variable: dict[str, object]) -> object:
    """Compare unix seconds as numbers, and times in UTC (or dates) as text of one length, to the second."""
    compare = TIMES[condition.operator]
    as_number = _joined("or", [{compare: [variable, value]} for value in condition.values])
    if condition.attribute == CLOCK:
        return as_number
    seconds = {"substr": [{"cat": [variable, "T00:00:00"]}, 0, _SECONDS_LENGTH]}
    as_text = _joined("or", [{compare: [seconds, _written(value)]} for value in condition.values])
    is_number = {"===": [{"+": [variable]}, variable]}
    return {"if": [is_number, as_number, {"and": [*_utc_tests(variable), as_text]}]}


def _utc_tests(variable: dict[str, object]) -> list[object]:
    rest = {"substr": [variable, _DATE_LENGTH]}
    is_utc = [{"===": [rest, ""]}, {"ends_with": [variable, "Z"]}, {"ends_with": [variable, "+00:00"]}]
    # A list would be taken for the text that it prints as.
    is_text = {"===": [{"cat": [variable]}, variable]}
    return [is_text, {"===": [{"substr": [variable, 4, 1]}, "-"]}, {"or": is_utc}]


def _written(seconds: Scalar) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()[:_SECONDS_LENGTH]


def _segment(name: str, segments: Mapping[str, object] | None) -> object:
    return {REFERENCE: evaluator_name(name)} if segments is None else segments[name]


def _rollout_tests(key: str, rollout: Rollout) -> list[object]:
    if rollout.share >= EVERYBODY:
        return []
    buckets = [["in", rollout.share], ["out", EVERYBODY - rollout.share]]
    chosen = {"fractional": [rollout_value(key, rollout.bucketing), *buckets]}
    return [_is_present(rollout.bucketing), {"===": [chosen, "in"]}]


def _is_present(bucketing: Bucketing) -> dict[str, object]:
    """Without the attribute nobody can be told apart: everyone would land in one bucket."""
    return _negation({"in": [_variable(bucketing.attribute), [None, ""]]})


def _variable(path: str) -> dict[str, object]:
    return {"var": path}


def _negation(test: object) -> dict[str, object]:
    return {"!": [test]}


def _joined(operator: str, tests: Sequence[object]) -> object:
    return tests[0] if len(tests) == 1 else {operator: list(tests)}
