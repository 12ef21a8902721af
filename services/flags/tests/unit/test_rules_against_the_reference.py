"""Differential test: rules, compiled, mean to flagd-core and to us what a direct reading of them means."""

import json
import os
import re
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from services.flags.tests.unit.rule_reading import choose

from undercroft.flags.domain.authoring import Surroundings, compile_source
from undercroft.flags.domain.flag_set import compile_flag_set
from undercroft.flags.domain.rule_targeting import evaluator_name
from undercroft.flags.domain.segments import compile_segments

NOW = 1_700_000_000
NIGHTLY = os.environ.get("UNDERCROFT_HYPOTHESIS_PROFILE") == "nightly"
CHECKED = settings(
    max_examples=20_000 if NIGHTLY else 2_000,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
VARIANTS = {"a": 1, "b": 2, "c": 3}

# The reference replaces references in JSON text: what JSON escapes would trip it, in a segment.
texts = st.sampled_from(
    ["a", "pro", "prod", "on", "1", "3", "1.2.0", "v2", "2023-11-14", "2023-11-14T22:13:20Z"]
)
texts |= st.text("abz09.-", min_size=1, max_size=4)
numbers = st.integers(-3, 5) | st.sampled_from([0.5, 2.5, 1e22, 1.0])
moments = st.sampled_from(
    [
        NOW,
        NOW - 1,
        0,
        "2023-11-14",
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:19+00:00",
        "2023-11-15T00:00:00+02:00",
    ]
).map(lambda moment: moment + "T00:00:00Z" if moment == "2023-11-14" else moment)
versions = st.sampled_from(["1.0.0", "v1", "1.2", "2.0.0-rc.1", "1.0.0+b"])
scalars = numbers | texts | st.booleans()
attributes = st.sampled_from(["plan", "age", "tags", "user.name", "user.a", "at", "targetingKey", "version"])


def conditions(
    operators: st.SearchStrategy[str], values: st.SearchStrategy[object]
) -> st.SearchStrategy[object]:
    compared = st.one_of(
        values.map(lambda value: {"value": value}),
        st.lists(values, min_size=1, max_size=3).map(lambda several: {"values": several}),
    )
    return st.builds(
        lambda operator, attribute, compared, negate: {
            "operator": operator,
            "attribute": attribute,
            **compared,
            **({"negate": True} if negate else {}),
        },
        operators,
        attributes,
        compared,
        st.booleans(),
    )


plain = st.one_of(
    conditions(st.sampled_from(["equals", "in"]), scalars),
    conditions(st.sampled_from(["starts_with", "ends_with", "contains"]), texts),
    conditions(st.sampled_from(["less_than", "at_most", "greater_than", "at_least"]), numbers),
    conditions(
        st.sampled_from(
            [f"version_{name}" for name in ("equals", "less_than", "at_most", "same_major", "same_minor")]
            + ["version_greater_than", "version_at_least"]
        ),
        versions,
    ),
    conditions(st.sampled_from(["before", "after"]), moments),
    st.builds(lambda name: {"operator": "exists", "attribute": name}, attributes),
    st.builds(
        lambda side, at: {"operator": side, "value": at}, st.sampled_from(["before", "after"]), moments
    ),
)
in_segment = st.builds(
    lambda names, negate: {"operator": "in_segment", "values": names, "negate": negate},
    st.lists(st.sampled_from(["one", "two"]), min_size=1, max_size=2),
    st.booleans(),
)
bucketing = st.fixed_dictionaries(
    {}, optional={"bucketBy": attributes, "seed": st.sampled_from(["s", "other"])}
)
splits = st.builds(
    lambda weights, by: {"variants": [{"variant": name, "weight": weight} for name, weight in weights], **by},
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), min_size=1, max_size=3).filter(
        lambda weights: any(weight for _, weight in weights)
    ),
    bucketing,
)
results = st.sampled_from("abc").map(lambda name: {"variant": name}) | splits.map(
    lambda split: {"split": split}
)
rollouts = st.builds(
    lambda percentage, by: {"rollout": {"percentage": percentage, **by}},
    st.sampled_from([0, 0.07, 10, 50, 99.99, 100]),
    bucketing,
)
rules = st.builds(
    lambda held, result, rollout: {"conditions": held, **result, **rollout},
    st.lists(plain | in_segment, max_size=3),
    results,
    st.just({}) | rollouts,
)
segment_conditions = st.lists(plain, min_size=1, max_size=2)
values = st.none() | scalars | st.lists(scalars, max_size=2)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "targetingKey": texts | st.just(""),
        "plan": values,
        "age": numbers | values,
        "tags": st.lists(texts, max_size=3),
        "user": st.fixed_dictionaries({}, optional={"name": values, "a": values}),
        "at": moments | values,
        "version": versions | numbers | values,
    },
)


def compiled(source: Mapping[str, Any], segments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document that the service makes of a flag by rules."""
    evaluators = compile_segments({key: {"conditions": held} for key, held in segments.items()})
    around = Surroundings(evaluators={}, segments=evaluators, flags={})
    content, _ = compile_source("flag", source, around)
    return {
        "flags": {"flag": content},
        "$evaluators": {evaluator_name(key): rule for key, rule in evaluators.items()},
    }


def ask_reference(document: Mapping[str, Any], context: Mapping[str, Any]) -> tuple[object, ...]:
    attributes = {name: value for name, value in context.items() if name != "targetingKey"}
    core = FlagdCore()
    with patch("time.time", return_value=NOW):
        core.set_flags(json.dumps(document))
        details = core.resolve_integer_value(
            "flag", 0, EvaluationContext(context.get("targetingKey"), attributes)
        )
    return details.value, details.variant, str(details.reason)


@given(rules=st.lists(rules, max_size=3), one=segment_conditions, two=segment_conditions, context=contexts)
@example(
    rules=[{"conditions": [{"operator": "at_most", "attribute": "age", "value": 5}], "variant": "b"}],
    one=[{"operator": "exists", "attribute": "age"}],
    two=[{"operator": "exists", "attribute": "age"}],
    context={},
)
@CHECKED
def test_rules_mean_to_every_evaluator_what_they_say(
    rules: list[object], one: list[object], two: list[object], context: dict[str, object]
) -> None:
    segments = {"one": one, "two": [*two, {"operator": "in_segment", "value": "one"}]}
    source = {"state": "ENABLED", "variants": VARIANTS, "defaultVariant": "c", "rules": rules}
    document = compiled(source, segments)

    chosen = choose("flag", source, segments, context, NOW)

    reason = "STATIC" if not rules else "DEFAULT" if chosen is None else "TARGETING_MATCH"
    expected = (VARIANTS[chosen or "c"], chosen or "c", reason)
    evaluation = compile_flag_set(document).evaluate("flag", context, now=NOW)
    assert (evaluation.value, evaluation.variant, str(evaluation.reason)) == expected
    assert ask_reference(document, context) == expected


@pytest.mark.parametrize("percentage", [1, 10, 50])
def test_a_rollout_that_grows_moves_nobody_out(percentage: float) -> None:
    def everybody_in(percentage: float) -> set[str]:
        rule = {"rollout": {"percentage": percentage}, "variant": "a"}
        source = {"state": "ENABLED", "variants": VARIANTS, "defaultVariant": "c", "rules": [rule]}
        flags = compile_flag_set(compiled(source, {}))
        users = [f"user-{number}" for number in range(2_000)]
        return {
            user for user in users if flags.evaluate("flag", {"targetingKey": user}, now=NOW).variant == "a"
        }

    smaller, larger = everybody_in(percentage), everybody_in(percentage * 2)
    assert smaller < larger
    assert abs(len(smaller) / 2_000 - percentage / 100) < 0.03


def test_a_split_behind_a_rollout_reaches_all_its_variants() -> None:
    split = {"variants": [{"variant": "a", "weight": 1}, {"variant": "b", "weight": 1}]}
    rule = {"rollout": {"percentage": 20}, "split": split}
    source = {"state": "ENABLED", "variants": VARIANTS, "defaultVariant": "c", "rules": [rule]}
    flags = compile_flag_set(compiled(source, {}))
    seen = [flags.evaluate("flag", {"targetingKey": f"u{n}"}, now=NOW).variant for n in range(2_000)]
    assert abs(seen.count("a") / seen.count("b") - 1) < 0.3


@pytest.mark.parametrize("operator", ["before", "after"])
@pytest.mark.parametrize("value", [["on", "0-"], ["2026-01-01"], {"a": 1}])
def test_a_list_is_no_time_though_it_prints_like_one(operator: str, value: object) -> None:
    # Found by the nightly profile: "on,0-" has a hyphen where a date has one.
    rule = {
        "conditions": [{"operator": operator, "attribute": "at", "value": 1_700_000_000}],
        "variant": "a",
    }
    source = {"state": "ENABLED", "variants": VARIANTS, "defaultVariant": "c", "rules": [rule]}
    document = compiled(source, {})
    assert compile_flag_set(document).evaluate("flag", {"at": value}, now=NOW).variant == "c"
    assert ask_reference(document, {"at": value})[1] == "c"


def test_the_reference_cannot_load_an_evaluator_with_an_escape_and_we_can() -> None:
    # It pastes evaluators into JSON text as the replacement of a regular expression.
    held = [{"operator": "equals", "attribute": "city", "value": "Zürich"}]
    rule = {"conditions": [{"operator": "in_segment", "value": "one"}], "variant": "a"}
    source = {"state": "ENABLED", "variants": VARIANTS, "defaultVariant": "c", "rules": [rule]}
    document = compiled(source, {"one": held})
    evaluation = compile_flag_set(document).evaluate("flag", {"city": "Zürich"}, now=NOW)
    assert evaluation.variant == "a"
    with pytest.raises(re.error, match="bad escape"):
        ask_reference(document, {"city": "Zürich"})
