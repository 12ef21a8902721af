"""What a hostile rule or context cannot do: hang, exhaust memory, or end in anything but one error entry."""

import json
import sys
from collections.abc import Callable, Mapping

import pytest

from undercroft.flags.domain import Evaluation, compile_flag_set
from undercroft.flags.domain.work import MAX_VALUE_DEPTH, WORK_BUDGET, Run, WorkLimitError

ACCUMULATOR = {"var": "accumulator"}
HUNDRED = list(range(100))


def evaluate(
    targeting: object, context: Mapping[str, object] | None = None, evaluators: object = None
) -> Evaluation:
    flag = {
        "state": "ENABLED",
        "variants": {"on": 1, "off": 0},
        "defaultVariant": "off",
        "targeting": targeting,
    }
    document = {"flags": {"flag": flag}, "$evaluators": evaluators}
    return compile_flag_set(document).evaluate("flag", context or {}, now=0)


def nested(depth: int, wrap: Callable[[object], object], core: object = "on") -> object:
    for _ in range(depth):
        core = wrap(core)
    return core


@pytest.mark.parametrize(
    "body",
    [
        {"merge": [ACCUMULATOR, ACCUMULATOR]},
        {"cat": [ACCUMULATOR, ACCUMULATOR, "xx"]},
        {"cat": [ACCUMULATOR, [ACCUMULATOR], "xx"]},
        {"*": [ACCUMULATOR, ACCUMULATOR]},
        {"cat": [[ACCUMULATOR, ACCUMULATOR]]},
    ],
)
def test_growth_inside_reduce_is_an_error(body: object):
    result = evaluate({"cat": {"reduce": [{"var": "items"}, body, 7]}}, {"items": HUNDRED})

    assert result.error_code == "GENERAL"
    assert result.error_details


@pytest.mark.parametrize("compare", ["===", "in", "=="])
def test_comparing_shared_structures_is_an_error(compare: str):
    doubling = {"reduce": [{"var": "items"}, [ACCUMULATOR, ACCUMULATOR], 7]}
    rule = {compare: [doubling, {"cat": [doubling]} if compare == "==" else [doubling]]}

    assert evaluate(rule, {"items": HUNDRED}).error_code == "GENERAL"


def test_loops_within_loops_are_an_error():
    rule: object = {"cat": ["x"]}
    for _ in range(4):
        rule = {"map": [HUNDRED, rule]}

    assert evaluate({"!": [rule]}).error_code == "GENERAL"


@pytest.mark.parametrize(
    "body",
    [
        {"in": ["y", ACCUMULATOR]},
        {"substr": [ACCUMULATOR, 1]},
        {"sem_ver": [ACCUMULATOR, "=", "1.0.0"]},
        {"sem_ver": [ACCUMULATOR, "=", {"var": "current"}]},
        {"fractional": [ACCUMULATOR, ["a"]]},
        {"var": ACCUMULATOR},
    ],
)
def test_long_text_in_a_loop_is_an_error(body: object):
    keep = {
        "if": [
            {"==": [body, "never"]},
            1,
            {"if": [{"===": [ACCUMULATOR, 7]}, {"var": "current"}, ACCUMULATOR]},
        ]
    }
    items = ["1" * 500_000, *["x"] * 2_000]

    assert evaluate({"!": {"reduce": [{"var": "items"}, keep, 7]}}, {"items": items}).error_code == "GENERAL"


@pytest.mark.parametrize(
    "rule",
    [
        {"cat": [{"var": "deep"}]},
        {"fractional": [{"cat": [{"var": "deep"}]}, ["on"]]},
        {"===": [{"var": "deep"}, [1]]},
    ],
)
def test_a_deeply_nested_context_is_an_error(rule: object):
    context = {"deep": nested(MAX_VALUE_DEPTH + 5, lambda core: [core])}

    assert evaluate(rule, context).error_code == "GENERAL"


def test_a_context_of_any_depth_is_harmless_where_it_is_not_walked():
    context = {"deep": nested(5_000, lambda core: [core])}

    assert evaluate({"if": [{"<": [{"var": "deep"}, 1]}, "on", "off"]}, context).variant == "off"


def test_an_ordinary_loop_is_within_the_limits():
    rule = {"if": [{"some": [{"var": "items"}, {"==": [{"var": "id"}, 4_999]}]}, "on"]}

    assert evaluate(rule, {"items": [{"id": number} for number in range(5_000)]}).variant == "on"


@pytest.mark.parametrize(
    "targeting",
    [
        nested(65, lambda core: {"if": [core, "on"]}),
        {"==": [nested(70, lambda core: [core, {"var": "x"}]), 1]},
        {"==": [nested(70, lambda core: {"a": core, "b": 1}), 1]},
        {"reduce": [[1], 1, nested(70, lambda core: [core])]},
        {"and": [{"var": "x"}] * 2_001},
        {"+": [1] * 200_001},
    ],
)
def test_a_rule_beyond_the_limits_does_not_compile(targeting: object):
    result = evaluate(targeting)

    assert result.error_code == "PARSE_ERROR"


def test_evaluators_count_as_often_as_they_are_referred_to():
    evaluators = {"big": {"and": [{"var": "x"}] * 500}}

    assert evaluate({"or": [{"$ref": "big"}] * 5}, {}, evaluators).error_code == "PARSE_ERROR"
    assert evaluate({"or": [{"$ref": "big"}] * 2}, {}, evaluators).reason == "DEFAULT"


def test_literals_count_as_often_as_they_are_referred_to():
    evaluators = {"list": list(range(50_000))}

    assert evaluate({"or": [{"in": [1, {"$ref": "list"}]}] * 5}, {}, evaluators).error_code == "PARSE_ERROR"


def test_what_cannot_be_computed_beforehand_is_an_error_when_it_is_evaluated():
    product = {"*": [2**63 - 1] * 20}

    assert evaluate({"cat": [product]}).error_details == "An integer result is too large"
    assert evaluate({"if": [False, {"cat": [product]}, "on"]}).variant == "on"


def python_calls(run: Callable[[], object]) -> int:
    """Count the calls that Python makes: a measure of time that no other process disturbs."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


ITEMS = {"var": "items"}
CURRENT = {"var": ""}


@pytest.mark.parametrize(
    "rule",
    [
        {"map": [ITEMS, {"map": [ITEMS, {"+": [CURRENT, 1]}]}]},
        {"filter": [ITEMS, {"some": [ITEMS, {"==": [CURRENT, -1]}]}]},
        {"reduce": [ITEMS, {"reduce": [ITEMS, {"+": [ACCUMULATOR, 1]}, 0]}, 0]},
        {"reduce": [ITEMS, {"merge": [ACCUMULATOR, ITEMS]}, []]},
        {"reduce": [ITEMS, {"cat": [ACCUMULATOR, {"var": "text"}]}, ""]},
        {"all": [ITEMS, {"none": [ITEMS, {"==": [{"cat": [ITEMS]}, "x"]}]}]},
        {"map": [ITEMS, {"in": [CURRENT, ITEMS]}]},
        {"map": [ITEMS, {"fractional": [{"cat": [{"var": "text"}, CURRENT]}, ["on", 1]]}]},
        {"map": [ITEMS, {"missing": [[str(number) for number in range(500)]]}]},
        {"sem_ver": [{"var": "text"}, "=", {"var": "text"}]},
        {"or": [{"===": [ITEMS, {"map": [ITEMS, 1]}]}] * 500},
    ],
    ids=lambda rule: json.dumps(rule)[:40],
)
def test_the_worst_rules_over_the_largest_context_take_bounded_time(rule: object):
    context = {"items": list(range(6_500)), "text": "1" * 25_000}
    assert 60_000 < len(json.dumps({"context": context})) < 64 * 1024

    assert python_calls(lambda: evaluate({"if": [rule, "on"]}, context)) < 20 * WORK_BUDGET


def test_computing_beforehand_is_within_one_budget():
    evaluators = {"list": list(range(1_000))}
    doubled: object = {"$ref": "list"}
    for _ in range(7):
        doubled = {"merge": [doubled, doubled]}

    assert evaluate({"!": [doubled]}, {}, evaluators).error_code == "GENERAL"


def test_nested_fractions_are_evaluated_once():
    rule = nested(60, lambda core: {"fractional": [core, [None]]}, {"var": "absent"})

    assert evaluate(rule).reason == "DEFAULT"


def test_the_budget_of_a_bulk_is_shared():
    heavy = {"!": [{"map": [HUNDRED, {"map": [HUNDRED, {"map": [[1, 2, 3], 1]}]}]}]}
    flag = {"state": "ENABLED", "variants": {"false": 1}, "targeting": heavy}
    flags = compile_flag_set({"flags": {f"flag-{number:02}": flag for number in range(60)}})

    body = flags.render_all({}, now=0)

    assert flags.evaluate("flag-59", {}, now=0).variant == "false"
    assert 0 < body.count(b"TARGETING_MATCH") < 60
    assert body.count(b"work limit") + body.count(b"TARGETING_MATCH") == 60


def test_an_operators_surprise_is_one_error():
    result = evaluate({"/": [{"*": [1e300, 1e300]}, {"+": [{"var": "huge"}]}]}, {"huge": 2**1023})
    overflow = evaluate({"/": [{"var": "huge"}, 2]}, {"huge": 10**400})

    assert result.error_code == "GENERAL"
    assert overflow.error_details == "The targeting cannot be evaluated for this context (OverflowError)"


def test_a_cyclic_accumulator_is_an_error_except_to_fractional():
    cycle = {"reduce": [[1], {"var": ""}, 0]}

    assert evaluate({"===": [cycle, cycle]}).error_code == "GENERAL"
    assert evaluate({"fractional": [cycle, ["on"]]}).reason == "DEFAULT"


def test_a_value_that_is_too_large_or_too_deep_to_walk_is_refused():
    with pytest.raises(WorkLimitError, match="work limit"):
        Run(0, remaining=10).charge_structure(list(range(11)))
    with pytest.raises(WorkLimitError, match="nested deeper"):
        Run(0).charge_structure(nested(MAX_VALUE_DEPTH, lambda core: {"a": core}))
