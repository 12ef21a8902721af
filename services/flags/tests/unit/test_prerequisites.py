"""Prerequisites: in which order flags are compiled, and what one flag means inside another."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from services.flags.tests.unit import test_rules_against_the_reference as generated

from undercroft.flags.domain.authoring import Surroundings, compile_source
from undercroft.flags.domain.flag_set import compile_flag_set
from undercroft.flags.domain.prerequisites import (
    CycleError,
    affected,
    is_inlinable,
    references_of,
    requirement,
    segments_of,
)

REQUIRES = {"app": ["ui", "api"], "ui": ["base"], "api": ["base"], "other": ["x"]}


def test_whatever_depends_on_a_changed_flag_comes_after_it():
    keys = affected(["base"], REQUIRES).keys
    assert keys[0] == "base"
    assert set(keys[1:3]) == {"ui", "api"}
    assert keys[3:] == ("app",)


def test_a_flag_that_nothing_depends_on_is_alone():
    assert affected(["app"], REQUIRES).keys == ("app",)


def test_a_ring_is_named():
    with pytest.raises(CycleError, match=r"a -> b -> a|b -> a -> b"):
        affected(["a"], {"a": ["b"], "b": ["a"]})


@pytest.mark.parametrize(
    ("targeting", "expected"),
    [
        (None, True),
        ({"if": [{"==": [{"var": "a"}, 1]}, "on"]}, True),
        ({"fractional": [["on", 1]]}, False),
        ({"if": [True, {"fractional": [["on", 1]]}]}, False),
        ({"fractional": [{"var": "a"}, ["on", 1]]}, True),
        ({"==": [{"var": "$flagd.flagKey"}, "x"]}, False),
        ({"var": ["$flagd.flagKey"]}, False),
        ({"<": [{"var": "$flagd.timestamp"}, 5]}, True),
        ({"$ref": "inner"}, False),
        ({"$ref": "itself"}, True),
    ],
)
def test_what_depends_on_its_own_key_cannot_be_inlined(targeting: object, expected: object):
    evaluators = {"inner": {"fractional": [["on", 1]]}, "itself": {"$ref": "itself"}}
    assert is_inlinable({"targeting": targeting}, evaluators) is expected


def test_references_are_found_wherever_they_are():
    targeting = {"if": [{"$ref": "segment:a"}, "on", {"and": {"$ref": "own"}}, [{"$ref": "segment:a"}]]}
    assert segments_of(targeting) == ("a",)
    assert references_of(targeting) == ("segment:a", "own") or references_of(targeting) == (
        "own",
        "segment:a",
    )


def test_a_disabled_flag_has_no_variant():
    assert requirement({"state": "DISABLED", "defaultVariant": "on"}, ["on"]) is False


booleans = st.sampled_from([True, False, None, "true", "false"])


@given(
    result=booleans,
    default=st.sampled_from(["true", "false", None]),
    wanted=st.sampled_from(["true", "false"]),
)
def test_variants_named_by_booleans_are_recognised(result: object, default: str | None, wanted: str) -> None:
    targeting = {"if": [{"var": "never"}, "true", result]}
    required: dict[str, Any] = {
        "state": "ENABLED",
        "variants": {"true": True, "false": False},
        "defaultVariant": default,
        "targeting": targeting,
    }
    holds = (
        compile_flag_set({"flags": {"required": required}}).evaluate("required", {}, now=0).variant == wanted
    )
    assert _dependent(required, [wanted], {}) == ("a" if holds else "c")


@given(
    rules=st.lists(generated.rules, max_size=2),
    context=generated.contexts,
    wanted=st.sets(st.sampled_from("abc"), min_size=1),
)
@generated.CHECKED
def test_a_prerequisite_holds_when_its_flag_has_a_wanted_variant(
    rules: list[object], context: dict[str, object], wanted: set[str]
) -> None:
    conditions = [{"operator": "exists", "attribute": "plan"}]
    source = {"state": "ENABLED", "variants": generated.VARIANTS, "defaultVariant": "c", "rules": rules}
    document = generated.compiled(source, {"one": conditions, "two": conditions})
    required = document["flags"]["flag"]
    variant = compile_flag_set(document).evaluate("flag", context, now=generated.NOW).variant

    expected = "a" if variant in wanted else "c"
    assert _dependent(required, sorted(wanted), context, document["$evaluators"]) == expected


def _dependent(
    required: dict[str, Any],
    wanted: list[str],
    context: dict[str, object],
    evaluators: dict[str, object] | None = None,
) -> str:
    """Return the variant of a flag that is `a` when its prerequisite holds and else `c`, to us and to flagd-core."""
    source = {
        "state": "ENABLED",
        "variants": generated.VARIANTS,
        "defaultVariant": "c",
        "prerequisites": [{"flag": "flag", "variants": wanted}],
        "rules": [{"variant": "a"}],
    }
    around = Surroundings(evaluators=evaluators or {}, segments={}, flags={"flag": required})
    content, _ = compile_source("dependent", source, around)
    document = {"flags": {"flag": content}, "$evaluators": evaluators or {}}
    evaluation = compile_flag_set(document).evaluate("flag", context, now=generated.NOW)
    reference = generated.ask_reference(document, context)
    assert (evaluation.value, evaluation.variant, str(evaluation.reason)) == reference
    return evaluation.variant
