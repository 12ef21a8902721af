"""Reads rules as they are written (JSON) and reports every mistake with its JSON pointer."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from undercroft.flags.domain.evaluation import echo
from undercroft.flags.domain.fractional import MAX_TOTAL_WEIGHT
from undercroft.flags.domain.problems import Problems
from undercroft.flags.domain.rule_checks import escape
from undercroft.flags.domain.rule_values import read_values
from undercroft.flags.domain.rules import (
    CLOCK,
    EXISTS,
    HUNDREDTHS,
    IN_SEGMENT,
    MAX_ATTRIBUTE_LENGTH,
    MAX_CONDITIONS,
    MAX_PREREQUISITES,
    MAX_RULES,
    OPERATORS_OF_CONDITIONS,
    TARGETING_KEY,
    TIMES,
    Bucketing,
    Condition,
    Prerequisite,
    Rollout,
    Rule,
    RuleSet,
    WeightedSplit,
)

RULE_MEMBERS: Final = ("rules", "prerequisites", "unmetVariant")
"""The members that make a definition one by rules."""

MAX_SPLIT: Final = 200
_MAX_NAME: Final = 200
# What binary fractions may be beside a whole number of hundredths: 0.07 * 100 is no integer.
_ROUNDING: Final = 1e-6
_CONDITION_MEMBERS: Final = ("attribute", "operator", "value", "values", "negate")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names that rules may use."""

    variants: Collection[str]
    segments: Collection[str]


def read_rule_set(source: Mapping[str, object], vocabulary: Vocabulary, problems: Problems) -> RuleSet:
    """Read ``rules``, ``prerequisites`` and ``unmetVariant`` of a definition."""
    reader = _Reader(vocabulary, problems)
    unmet = source.get("unmetVariant")
    return RuleSet(
        rules=tuple(reader.rules(source)),
        prerequisites=tuple(reader.prerequisites(source)),
        unmet_variant=None if unmet is None else reader.variant(unmet, "/unmetVariant"),
    )


def read_conditions(
    conditions: object, pointer: str, segments: Collection[str], problems: Problems
) -> tuple[Condition, ...]:
    """Read the conditions of a segment."""
    return _Reader(Vocabulary((), segments), problems).conditions(conditions, pointer)


class _Reader:
    def __init__(self, vocabulary: Vocabulary, problems: Problems) -> None:
        self._vocabulary = vocabulary
        self._problems = problems

    def rules(self, source: Mapping[str, object]) -> Iterator[Rule]:
        names: set[str] = set()
        for pointer, rule in self._objects(source.get("rules"), "/rules", MAX_RULES):
            self._known(rule, ("name", "conditions", "rollout", "variant", "split"), pointer)
            name = rule.get("name")
            if name is not None and (not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME):
                self._problems.add(
                    f"{pointer}/name", f"a name has 1 to {_MAX_NAME} characters", "invalid_name"
                )
                name = None
            if name in names:
                self._problems.add(f"{pointer}/name", "another rule has this name", "duplicate_name")
            if isinstance(name, str):
                names.add(name)
            yield Rule(
                name=name if isinstance(name, str) else None,
                conditions=self.conditions(rule.get("conditions"), f"{pointer}/conditions"),
                rollout=self._rollout(rule.get("rollout"), f"{pointer}/rollout"),
                result=self._result(rule, pointer),
            )

    def prerequisites(self, source: Mapping[str, object]) -> Iterator[Prerequisite]:
        given = self._objects(source.get("prerequisites"), "/prerequisites", MAX_PREREQUISITES)
        for pointer, prerequisite in given:
            self._known(prerequisite, ("flag", "variants"), pointer)
            flag, variants = prerequisite.get("flag"), prerequisite.get("variants")
            if not isinstance(flag, str) or not flag:
                self._problems.add(f"{pointer}/flag", "name a flag", "wrong_type")
                continue
            if not isinstance(variants, list) or not 1 <= len(variants) <= MAX_SPLIT:
                self._problems.add(f"{pointer}/variants", f"name 1 to {MAX_SPLIT} variants", "wrong_type")
                continue
            for index, variant in enumerate(variants):
                if not isinstance(variant, str):
                    self._problems.add(f"{pointer}/variants/{index}", "a variant is a name", "wrong_type")
            yield Prerequisite(flag=flag, variants=tuple(str(variant) for variant in variants))

    def conditions(self, given: object, pointer: str) -> tuple[Condition, ...]:
        conditions = (
            self._condition(condition, place)
            for place, condition in self._objects(given, pointer, MAX_CONDITIONS)
        )
        return tuple(condition for condition in conditions if condition is not None)

    def variant(self, name: object, pointer: str) -> str:
        if not isinstance(name, str):
            self._problems.add(pointer, "a variant is a name", "wrong_type")
            return ""
        if name not in self._vocabulary.variants:
            self._problems.add(pointer, f"there is no variant {echo(name)}", "unknown_variant")
        return name

    def _condition(self, condition: dict[str, object], pointer: str) -> Condition | None:
        self._known(condition, _CONDITION_MEMBERS, pointer)
        operator = condition.get("operator")
        if not isinstance(operator, str) or operator not in OPERATORS_OF_CONDITIONS:
            detail = f"the operator is one of {', '.join(OPERATORS_OF_CONDITIONS)}"
            self._problems.add(f"{pointer}/operator", detail, "unknown_operator")
            return None
        if not isinstance(condition.get("negate", False), bool):
            self._problems.add(f"{pointer}/negate", "must be true or false", "wrong_type")
        values = () if operator == EXISTS else read_values(condition, operator, pointer, self._problems)
        if operator == EXISTS and not condition.keys().isdisjoint({"value", "values"}):
            self._problems.add(pointer, "exists takes no value", "unknown_member")
        if operator == IN_SEGMENT:
            self._check_segments(condition, pointer)
        return Condition(
            operator=operator,
            attribute=self._attribute(condition, operator, pointer),
            values=values,
            is_negated=condition.get("negate") is True,
        )

    def _attribute(self, condition: Mapping[str, object], operator: str, pointer: str) -> str | None:
        attribute = condition.get("attribute")
        if operator == IN_SEGMENT:
            if attribute is not None:
                self._problems.add(f"{pointer}/attribute", "a segment has its own", "unknown_member")
            return None
        if attribute is None and operator in TIMES:
            return CLOCK
        return self._path(attribute, f"{pointer}/attribute")

    def _path(self, attribute: object, pointer: str) -> str:
        """Read a dotted path. What flagd adds to a context depends on the flag, except for the time."""
        if not isinstance(attribute, str) or not 1 <= len(attribute) <= MAX_ATTRIBUTE_LENGTH:
            detail = f"an attribute is a dotted path of 1 to {MAX_ATTRIBUTE_LENGTH} characters"
            self._problems.add(pointer, detail, "invalid_attribute")
            return TARGETING_KEY
        if attribute.partition(".")[0] == "$flagd" and attribute != CLOCK:
            self._problems.add(pointer, f"of $flagd only {CLOCK} can be used", "invalid_attribute")
        return attribute

    def _check_segments(self, condition: Mapping[str, object], pointer: str) -> None:
        given = condition.get("values")
        places = (
            [(f"{pointer}/values/{index}", name) for index, name in enumerate(given)]
            if isinstance(given, list)
            else [(f"{pointer}/value", condition.get("value"))]
        )
        for place, name in places:
            if isinstance(name, str) and name not in self._vocabulary.segments:
                self._problems.add(place, f"there is no segment {echo(name)}", "unknown_segment")

    def _result(self, rule: Mapping[str, object], pointer: str) -> str | WeightedSplit:
        if ("variant" in rule) == ("split" in rule):
            self._problems.add(pointer, "a rule leads to either `variant` or `split`", "missing_result")
            return ""
        if "variant" in rule:
            return self.variant(rule["variant"], f"{pointer}/variant")
        return self._split(rule["split"], f"{pointer}/split")

    def _split(self, split: object, pointer: str) -> WeightedSplit:
        if not isinstance(split, dict):
            self._problems.add(pointer, "must be an object", "wrong_type")
            split = {}
        self._known(split, ("variants", "bucketBy", "seed"), pointer)
        weights: list[tuple[str, int]] = []
        for place, part in self._objects(split.get("variants"), f"{pointer}/variants", MAX_SPLIT):
            self._known(part, ("variant", "weight"), place)
            weight = part.get("weight")
            if type(weight) is not int or weight < 0:
                self._problems.add(f"{place}/weight", "a weight is an integer from 0 up", "invalid_weight")
                weight = 1
            weights.append((self.variant(part.get("variant"), f"{place}/variant"), weight))
        if not 1 <= sum(weight for _, weight in weights) <= MAX_TOTAL_WEIGHT:
            detail = f"the weights must add up to between 1 and {MAX_TOTAL_WEIGHT}"
            self._problems.add(f"{pointer}/variants", detail, "invalid_weight")
        return WeightedSplit(weights=tuple(weights), bucketing=self._bucketing(split, pointer))

    def _rollout(self, rollout: object, pointer: str) -> Rollout | None:
        if rollout is None:
            return None
        if not isinstance(rollout, dict):
            self._problems.add(pointer, "must be an object", "wrong_type")
            return None
        self._known(rollout, ("percentage", "bucketBy", "seed"), pointer)
        percentage = rollout.get("percentage")
        share = share_of(percentage)
        if share is None:
            detail = "a percentage is from 0 to 100, with two decimals at most"
            self._problems.add(f"{pointer}/percentage", detail, "invalid_percentage")
        return Rollout(share=share or 0, bucketing=self._bucketing(rollout, pointer))

    def _bucketing(self, source: Mapping[str, object], pointer: str) -> Bucketing:
        seed = source.get("seed")
        if seed is not None and (not isinstance(seed, str) or not 1 <= len(seed) <= _MAX_NAME):
            self._problems.add(f"{pointer}/seed", f"a seed has 1 to {_MAX_NAME} characters", "wrong_type")
            seed = None
        attribute = source.get("bucketBy", TARGETING_KEY)
        return Bucketing(attribute=self._path(attribute, f"{pointer}/bucketBy"), seed=seed)

    def _objects(self, given: object, pointer: str, limit: int) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield the items of a list of objects with their pointers; an absent list has none."""
        if given is None:
            return
        if not isinstance(given, list) or len(given) > limit:
            self._problems.add(pointer, f"must be a list of at most {limit}", "wrong_type")
            return
        for index, item in enumerate(given):
            if isinstance(item, dict):
                yield f"{pointer}/{index}", item
            else:
                self._problems.add(f"{pointer}/{index}", "must be an object", "wrong_type")

    def _known(self, given: Mapping[str, object], members: Collection[str], pointer: str) -> None:
        for name in given:
            if name not in members:
                self._problems.add(
                    f"{pointer}/{escape(name)}", f"unknown member {echo(name)}", "unknown_member"
                )


def share_of(percentage: object) -> int | None:
    """Return a percentage in hundredths of a percent, None for what is none."""
    if isinstance(percentage, bool) or not isinstance(percentage, (int, float)):
        return None
    if not 0 <= percentage <= HUNDREDTHS:
        return None
    share = round(percentage * HUNDREDTHS)
    return share if abs(percentage * HUNDREDTHS - share) < _ROUNDING else None
