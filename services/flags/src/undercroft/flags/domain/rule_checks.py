"""Strict checks of targeting rules for the people who write them; evaluation is more forgiving.

The rules follow flagd's targeting schema, plus what only shows at evaluation: names of variants that do not exist.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from undercroft.flags.domain.evaluation import echo
from undercroft.flags.domain.fractional import MAX_TOTAL_WEIGHT
from undercroft.flags.domain.json_logic import OPERATOR_NAMES, REFERENCE, compile_rule, reference_name
from undercroft.flags.domain.problems import Problems
from undercroft.flags.domain.semantic_version import COMPARISONS, parse_version
from undercroft.flags.domain.work import MalformedRuleError

_ANY_NUMBER: Final = 10_000
_ARGUMENT_COUNTS: Final[Mapping[str, tuple[int, int]]] = {
    **dict.fromkeys(
        ("==", "===", "!=", "!==", "%", "/", "in", "starts_with", "ends_with", "missing_some"), (2, 2)
    ),
    **dict.fromkeys(("map", "filter", "all", "some", "none"), (2, 2)),
    **dict.fromkeys(("<", "<=", ">", ">=", "substr", "reduce"), (2, 3)),
    **dict.fromkeys(("!", "!!", "log"), (1, 1)),
    **dict.fromkeys(
        ("if", "?:", "and", "or", "+", "*", "min", "max", "merge", "cat", "fractional"), (1, _ANY_NUMBER)
    ),
    **dict.fromkeys(("var", "-"), (1, 2)),
    "missing": (0, _ANY_NUMBER),
    "sem_ver": (3, 3),
}
_BUCKET_LENGTHS: Final = (1, 2)
_TRIPLE: Final = 3


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What a rule is checked against; ``variants`` is None where the result need not name a variant."""

    evaluators: Mapping[str, object]
    variants: Mapping[str, object] | None = None
    is_evaluator: bool = False


def check_rule(source: object, pointer: str, context: RuleContext, problems: Problems) -> None:
    """Report what is wrong with a rule."""
    evaluators = {} if context.is_evaluator else context.evaluators
    try:
        # First, because it bounds the depth of what the checks below walk recursively.
        compile_rule(source, flag_key="", evaluators=evaluators, member_sets={})
    except MalformedRuleError as error:
        problems.add(pointer, str(error), "rule_too_large")
        return
    _Checker(context, problems).check(source, _Spot(pointer, context.variants))


def escape(token: str) -> str:
    """Escape one token of a JSON pointer (RFC 6901 section 3)."""
    return token.replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where the checker stands, and the variants that the value there may name (None: it is no result)."""

    pointer: str
    variants: Mapping[str, object] | None = None

    def at(self, token: str | int) -> "_Spot":
        return _Spot(f"{self.pointer}/{escape(str(token))}")


class _Checker:
    def __init__(self, context: RuleContext, problems: Problems) -> None:
        self._evaluators = context.evaluators
        self._is_evaluator = context.is_evaluator
        self._problems = problems

    def check(self, source: object, spot: _Spot) -> None:
        if self._problems.is_full:
            return
        if isinstance(source, list):
            for index, item in enumerate(source):
                self.check(item, spot.at(index))
        elif isinstance(source, dict):
            self._check_operation(source, spot)
        elif spot.variants is not None:
            self._check_result(source, spot, spot.variants)

    def _check_operation(self, source: dict[str, object], spot: _Spot) -> None:
        if len(source) != 1:
            self._problems.add(spot.pointer, "a rule is an object with exactly one operator", "invalid_rule")
            return
        ((name, given),) = source.items()
        if name == REFERENCE:
            self._check_reference(source, spot)
        elif name not in OPERATOR_NAMES:
            self._problems.add(spot.pointer, f"there is no operator {echo(name)}", "unknown_operator")
        elif reference_name(given) is not None:
            self.check(given, spot.at(name))
        else:
            self._check_arguments(name, given, spot)

    def _check_reference(self, source: dict[str, object], spot: _Spot) -> None:
        name = reference_name(source)
        if name is None:
            self._problems.add(spot.pointer, "$ref must name an evaluator", "wrong_type")
        elif self._is_evaluator:
            self._problems.add(spot.pointer, "an evaluator must not refer to another", "nested_reference")
        elif name not in self._evaluators:
            self._problems.add(spot.pointer, f"there is no evaluator {echo(name)}", "unknown_evaluator")

    def _check_arguments(self, name: str, given: object, spot: _Spot) -> None:
        inner = spot.at(name)
        arguments = given if isinstance(given, list) else [given]
        self._check_count(name, len(arguments), inner)
        if name == "sem_ver":
            self._check_versions(arguments, inner)
        if name == "fractional":
            self._check_fractional(arguments, replace(inner, variants=spot.variants))
            return
        results = _result_positions(name, len(arguments)) if spot.variants is not None else ()
        for index, argument in enumerate(arguments[:2] if name == "reduce" else arguments):
            place = inner.at(index) if isinstance(given, list) else inner
            self.check(argument, replace(place, variants=spot.variants if index in results else None))

    def _check_count(self, name: str, count: int, spot: _Spot) -> None:
        least, most = _ARGUMENT_COUNTS[name]
        if least <= count <= most:
            return
        limits = f"{least} or more" if most == _ANY_NUMBER else f"{least} to {most}"
        expected = str(least) if least == most else limits
        detail = f"{name} takes {expected} arguments, not {count}"
        self._problems.add(spot.pointer, detail, "wrong_argument_count")

    def _check_result(self, value: object, spot: _Spot, variants: Mapping[str, object]) -> None:
        name = str(value).lower() if isinstance(value, bool) else value
        if name is not None and str(name) not in variants:
            self._problems.add(spot.pointer, f"there is no variant {echo(str(name))}", "unknown_variant")

    def _check_versions(self, arguments: list[object], spot: _Spot) -> None:
        if len(arguments) != _TRIPLE:
            return
        left, comparison, right = arguments
        if not isinstance(comparison, dict) and (
            not isinstance(comparison, str) or comparison not in COMPARISONS
        ):
            detail = f"the comparison must be one of {' '.join(COMPARISONS)}"
            self._problems.add(spot.at(1).pointer, detail, "invalid_version_comparison")
        for index, version in ((0, left), (2, right)):
            if not isinstance(version, dict) and parse_version(version) is None:
                self._problems.add(
                    spot.at(index).pointer, "this is not a semantic version", "invalid_version"
                )

    def _check_fractional(self, arguments: list[object], spot: _Spot) -> None:
        is_shorthand = bool(arguments) and isinstance(arguments[0], list)
        weights: list[int | None] = []
        for index, argument in enumerate(arguments):
            place = spot.at(index)
            if index == 0 and not is_shorthand:
                self.check(argument, place)
            else:
                weights.append(self._weight(argument, place))
                self._check_bucket(argument, replace(place, variants=spot.variants))
        known = [weight for weight in weights if weight is not None]
        if sum(known) > MAX_TOTAL_WEIGHT or (len(known) == len(weights) and sum(known) == 0):
            detail = f"the weights must add up to between 1 and {MAX_TOTAL_WEIGHT}"
            self._problems.add(spot.pointer, detail, "invalid_fraction")

    def _check_bucket(self, bucket: object, spot: _Spot) -> None:
        if not isinstance(bucket, list):
            self.check(bucket, replace(spot, variants=None))
            return
        for index, part in enumerate(bucket):
            self.check(part, replace(spot.at(index), variants=spot.variants if index == 0 else None))

    def _weight(self, bucket: object, spot: _Spot) -> int | None:
        """Return a literal weight, None for one that is computed or wrong."""
        if not isinstance(bucket, list) or len(bucket) not in _BUCKET_LENGTHS:
            self._problems.add(
                spot.pointer, "a fraction is [variant, weight] or [variant]", "invalid_fraction"
            )
            return None
        weight = bucket[1] if len(bucket) > 1 else 1
        if isinstance(weight, dict):
            return None
        if type(weight) is int and weight >= 0:
            return weight
        self._problems.add(spot.at(1).pointer, "a weight is an integer from 0 up", "invalid_fraction")
        return None


def _result_positions(name: str, count: int) -> Collection[int]:
    """Return which arguments may become the result of the operator."""
    if name in {"if", "?:"}:
        return {index for index in range(count) if index % 2 or index == count - 1}
    if name == "or":
        return range(count)
    return (count - 1,) if name == "and" else ()
