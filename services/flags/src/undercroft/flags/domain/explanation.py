"""Why a flag by rules has its value: every test that was made, each asked of the evaluator itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from undercroft.flags.domain.canonical_cbor import encode_text
from undercroft.flags.domain.definition import with_flagd_data
from undercroft.flags.domain.fractional import bucket_of
from undercroft.flags.domain.json_logic import compile_rule
from undercroft.flags.domain.rule_targeting import (
    EVERYBODY,
    compile_condition,
    conjunction,
    result_of,
    rollout_value,
    split_value,
    tests_of,
)
from undercroft.flags.domain.rules import HUNDREDTHS, IN_SEGMENT, Bucketing, Condition, Rule, WeightedSplit
from undercroft.flags.domain.variables import follow
from undercroft.flags.domain.work import RuleError, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionTrace:
    """One condition: what it found, and whether it holds. ``conditions`` are those of its segments."""

    operator: str
    attribute: str | None
    values: tuple[object, ...]
    negate: bool
    actual: object
    holds: bool
    conditions: tuple["ConditionTrace", ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketTrace:
    """Where a subject falls: what was hashed (None when the attribute is missing) and its bucket of ``total``."""

    bucket_by: str
    hashed: str | None
    bucket: int | None
    total: int
    chosen: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTrace:
    """One rule: whether it was reached and applies, and what it leads to."""

    index: int
    name: str | None
    is_reached: bool
    applies: bool
    conditions: tuple[ConditionTrace, ...]
    rollout: BucketTrace | None
    split: BucketTrace | None
    variant: str | None


class Asker:
    """Asks the evaluator for the result of single rules, for one flag, context and time."""

    def __init__(
        self, key: str, evaluators: Mapping[str, object], context: Mapping[str, object], *, now: int
    ) -> None:
        self._key = key
        self._evaluators = evaluators
        self._plain = dict(context)
        self._full = with_flagd_data(self._plain, key, now)
        self._now = now

    def ask(self, rule: object) -> object:
        """Return the result of a rule; raises RuleError for one that cannot be evaluated."""
        compiled = compile_rule(rule, flag_key=self._key, evaluators=self._evaluators, member_sets={})
        return compiled.rule(self._full if compiled.reads_flagd_data else self._plain, Run(self._now))

    def holds(self, rule: object) -> bool:
        """Tell whether a rule holds; one that asks for too much work does not."""
        try:
            return self.ask({"!!": [rule]}) is True
        except RuleError:
            return False

    def find(self, path: str) -> object:
        """Return what the context has at a dotted path."""
        return follow(self._full, path.split("."))


def trace_rules(
    key: str,
    rules: Sequence[Rule],
    segments: Mapping[str, Sequence[Condition]],
    asker: Asker,
    *,
    is_reached: bool,
) -> list[RuleTrace]:
    """Trace every rule; those after the first that applies, and all behind an unmet prerequisite, are not reached."""
    traces: list[RuleTrace] = []
    for index, rule in enumerate(rules):
        applies = asker.holds(conjunction(list(tests_of(key, rule))))
        variant = asker.ask(result_of(key, rule)) if applies else None
        traces.append(
            RuleTrace(
                index=index,
                name=rule.name,
                is_reached=is_reached,
                applies=applies,
                conditions=tuple(trace_condition(each, segments, asker) for each in rule.conditions),
                rollout=_trace_rollout(key, rule, asker),
                split=_trace_split(key, rule.result, asker),
                variant=variant if isinstance(variant, str) else None,
            )
        )
        is_reached = is_reached and not applies
    return traces


def trace_condition(
    condition: Condition, segments: Mapping[str, Sequence[Condition]], asker: Asker
) -> ConditionTrace:
    """Trace one condition, and those of the segments that it names."""
    names = condition.values if condition.operator == IN_SEGMENT else ()
    return ConditionTrace(
        operator=condition.operator,
        attribute=condition.attribute,
        values=condition.values,
        negate=condition.is_negated,
        actual=None if condition.attribute is None else asker.find(condition.attribute),
        holds=asker.holds(compile_condition(condition)),
        conditions=tuple(
            trace_condition(each, segments, asker) for name in names for each in segments.get(str(name), ())
        ),
    )


def _trace_rollout(key: str, rule: Rule, asker: Asker) -> BucketTrace | None:
    if rule.rollout is None:
        return None
    hashed, bucket = _bucket(
        rollout_value(key, rule.rollout.bucketing), rule.rollout.bucketing, EVERYBODY, asker
    )
    is_in = rule.rollout.share >= EVERYBODY or (bucket is not None and bucket < rule.rollout.share)
    return BucketTrace(
        bucket_by=rule.rollout.bucketing.attribute,
        hashed=hashed,
        bucket=bucket,
        total=EVERYBODY,
        chosen=f"{'in' if is_in else 'out of'} {rule.rollout.share / HUNDREDTHS:g} %",
    )


def _trace_split(key: str, result: str | WeightedSplit, asker: Asker) -> BucketTrace | None:
    if isinstance(result, str):
        return None
    total = sum(weight for _, weight in result.weights)
    hashed, bucket = _bucket(split_value(key, result.bucketing), result.bucketing, total, asker)
    return BucketTrace(
        bucket_by=result.bucketing.attribute,
        hashed=hashed,
        bucket=bucket,
        total=total,
        chosen=None if bucket is None else _chosen(result, bucket),
    )


def _chosen(split: WeightedSplit, bucket: int) -> str:
    end = 0
    for name, weight in split.weights:
        end += weight
        if bucket < end:
            return name
    raise AssertionError  # pragma: no cover  (bucket < total)


def _bucket(rule: object, bucketing: Bucketing, total: int, asker: Asker) -> tuple[str | None, int | None]:
    if asker.find(bucketing.attribute) in (None, ""):
        return None, None
    hashed = str(asker.ask(rule))
    return hashed, bucket_of(encode_text(hashed), total)
