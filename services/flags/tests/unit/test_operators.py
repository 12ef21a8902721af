import math

import pytest

from undercroft.flags.domain.json_logic import compile_rule
from undercroft.flags.domain.work import MalformedRuleError, Run

CONTEXT: dict[str, object] = {
    "targetingKey": "user-1",
    "plan": "pro",
    "age": 42,
    "ratio": 1.5,
    "zero": 0,
    "empty": "",
    "yes": True,
    "nothing": None,
    "tags": ["a", "b"],
    "mixed": [1, "x", None, [2], {"k": "v"}],
    "none": [],
    "user": {"name": "jo", "address": {"zip": "8000"}},
    "object": {},
    "version": "1.2.3",
}


def run(rule: object, context: dict[str, object] | None = None) -> object:
    data = CONTEXT if context is None else context
    compiled = compile_rule(rule, flag_key="flag", evaluators={}, member_sets={})
    if compiled.reads_flagd_data:
        data = {
            **data,
            "$flagd": {"flagKey": "flag", "timestamp": 7},
            "targetingKey": data.get("targetingKey"),
        }
    return compiled.rule(data, Run(7))


def var(path: object) -> dict[str, object]:
    return {"var": path}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (var("plan"), "pro"),
        (var(["plan"]), "pro"),
        (var("user.name"), "jo"),
        (var("user.address.zip"), "8000"),
        (var("plan.0"), "p"),
        (var("plan.9"), None),
        (var("tags.1"), "b"),
        (var("tags.01"), None),
        (var("tags.-1"), None),
        (var("tags.length"), 2),
        (var("tags.x"), None),
        (var("age.x"), None),
        (var("absent"), None),
        (var(["absent", "d"]), "d"),
        (var(["absent", [1]]), [1]),
        (var(["nothing", "d"]), "d"),
        (var(["absent", var("plan")]), "pro"),
        (var({"cat": ["pl", "an"]}), "pro"),
        (var([1, "d"]), "d"),
        (var(["absent", "d", "surplus"]), "d"),
        (var([]), CONTEXT | {"$flagd": {"flagKey": "flag", "timestamp": 7}}),
        (var("$flagd.flagKey"), "flag"),
        (var("$flagd.timestamp"), 7),
        (var("$flagd.other"), None),
        (var("$flagd"), {"flagKey": "flag", "timestamp": 7}),
        ({"map": [var("tags"), var("")]}, ["a", "b"]),
        ({"map": [[["x", "y"], "ab", 5], var(1)]}, ["y", "b", None]),
        ({"map": [[["x"]], var([1.5, "d"])]}, ["d"]),
        ({"missing": ["plan", "absent", "empty"]}, ["absent", "empty"]),
        ({"missing": [["plan", "absent"]]}, ["absent"]),
        ({"missing": [var("tags")]}, ["a", "b"]),
        ({"missing": ["$flagd.flagKey"]}, []),
        ({"missing": []}, []),
        ({"missing_some": [1, ["plan", "absent"]]}, []),
        ({"missing_some": [2, ["plan", "absent"]]}, ["absent"]),
        ({"missing_some": [1, "plan"]}, []),
    ],
)
def test_variables(rule: object, expected: object):
    assert run(rule) == expected


def test_the_whole_data_holds_what_flagd_adds():
    assert run(var(""), {"a": 1}) == {
        "a": 1,
        "$flagd": {"flagKey": "flag", "timestamp": 7},
        "targetingKey": None,
    }


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"if": []}, None),
        ({"if": ["x"]}, "x"),
        ({"if": [True, "x"]}, "x"),
        ({"if": [False, "x"]}, None),
        ({"if": [False, "x", "y"]}, "y"),
        ({"if": [var("zero"), "x", var("yes"), "y", "z"]}, "y"),
        ({"if": [var("zero"), "x", var("empty"), "y", "z"]}, "z"),
        ({"if": [var("zero"), "x", var("plan")]}, "pro"),
        ({"if": [var("yes"), [1], [2]]}, [1]),
        ({"?:": [var("yes"), "x", "y"]}, "x"),
        ({"and": []}, None),
        ({"and": [var("plan"), var("age")]}, 42),
        ({"and": [var("plan"), var("zero"), var("age")]}, 0),
        ({"and": [True, var("plan")]}, "pro"),
        ({"and": [False, var("plan")]}, False),
        ({"and": [{"!": var("zero")}, {"!": var("empty")}, {"!": var("none")}]}, True),
        ({"and": [{"!": var("zero")}, {"!": var("plan")}, {"!": var("none")}]}, False),
        ({"and": [{"!": var("zero")}, {"!": var("plan")}]}, False),
        ({"or": []}, None),
        ({"or": [var("zero"), var("empty"), var("plan")]}, "pro"),
        ({"or": [var("zero"), var("none")]}, []),
        ({"or": [False, var("plan")]}, "pro"),
        ({"or": ["x", var("plan")]}, "x"),
        ({"or": [{"!": var("plan")}, {"!": var("zero")}]}, True),
        ({"or": [{"!": var("plan")}, {"!": var("age")}, {"!": var("zero")}]}, True),
        ({"or": [{"!": var("plan")}, {"!": var("age")}, {"!": var("yes")}]}, False),
        ({"if": [var("object"), "truthy", "falsy"]}, "truthy"),
        ({"if": [{"a": 1, "b": 2}, "truthy", "falsy"]}, "truthy"),
        ({"!": [var("none")]}, True),
        ({"!": [var("none"), 1]}, True),
        ({"!!": ["0"]}, True),
        ({"!!": [var("empty")]}, False),
        ({"!": []}, True),
        ({"!": {"/": [0, 0]}}, True),
    ],
)
def test_control_flow(rule: object, expected: object):
    assert run(rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"==": [var("plan"), "pro"]}, True),
        ({"==": ["pro", var("plan")]}, True),
        ({"!=": [var("plan"), "pro"]}, False),
        ({"!=": [var("plan"), var("age")]}, True),
        ({"==": [var("user.name"), "jo"]}, True),
        ({"==": [var("age"), "42"]}, True),
        ({"==": [var("age"), 42]}, True),
        ({"==": [var("age"), 42.0]}, True),
        ({"==": [var("plan"), 42]}, False),
        ({"==": [var("yes"), 1]}, True),
        ({"==": [var("yes"), "1"]}, True),
        ({"==": [1, "1"]}, True),
        ({"==": ["1", 1]}, True),
        ({"==": ["", 0]}, False),
        ({"==": [None, 0]}, True),
        ({"==": [None, ""]}, False),
        ({"==": [["a"], "a"]}, True),
        ({"==": ["a", {"a": 1, "b": 2}]}, False),
        ({"==": [["a"], ["a"]]}, False),
        ({"==": [["a"], {"a": 1, "b": 2}]}, False),
        ({"==": [var("tags"), var("tags")]}, True),
        ({"==": [var("plan"), var("plan"), 1]}, True),
        ({"===": [var("plan"), var("plan"), 1]}, True),
        ({"!": [var("plan"), var("plan")]}, False),
        ({"===": [var("tags"), ["a", "b"]]}, True),
        ({"===": [var("plan"), "pro"]}, True),
        ({"===": [var("age"), "42"]}, False),
        ({"!==": [var("age"), "42"]}, True),
        ({"!==": [var("tags"), var("tags")]}, False),
        ({"<": [var("age"), 50]}, True),
        ({"<": [var("absent"), 50]}, True),
        ({">": [var("age"), 50]}, False),
        ({"<=": [42, var("age")]}, True),
        ({">=": [var("ratio"), 1.5]}, True),
        ({"<": [1, var("age"), 100]}, True),
        ({"<": [1, var("age"), 2]}, False),
        ({"<=": [1, 2, None]}, True),
        ({"<": ["a", "b"]}, True),
        ({"<": [var("plan"), "q"]}, True),
        ({"<": ["10", 9]}, False),
        ({">": [["b"], "a"]}, True),
        ({"<": [None, [1]]}, True),
        ({"<": []}, False),
        ({"<": [var("plan"), 5]}, False),
    ],
)
def test_comparison(rule: object, expected: object):
    assert run(rule) is expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"+": [1, "2", True, None]}, 4),
        ({"+": []}, 0),
        ({"-": [5, 2.5]}, 2.5),
        ({"-": [var("age")]}, -42),
        ({"*": [2, "3"]}, 6),
        ({"*": []}, 1),
        ({"/": [7, 2]}, 3.5),
        ({"/": [1, 0]}, math.inf),
        ({"/": [-1, 0]}, -math.inf),
        ({"/": [1, {"-": [0.0]}]}, -math.inf),
        ({"%": [7, 3]}, 1),
        ({"%": [-1, 3]}, 2),
        ({"min": [3, "1", 2]}, 1),
        ({"max": [3, "1", [7]]}, 7),
        ({"+": [[]]}, 0),
        ({"+": [" 1e2 "]}, 100),
    ],
)
def test_arithmetic(rule: object, expected: object):
    assert run(rule) == expected


@pytest.mark.parametrize(
    "rule",
    [
        {"/": [0, 0]},
        {"/": ["x", 0]},
        {"%": [1, 0]},
        {"min": []},
        {"max": []},
        {"+": ["inf"]},
        {"+": ["x"]},
        {"+": [""]},
        {"+": [[1, 2]]},
        {"+": [{"a": 1, "b": 2}]},
        {"+": ["1" * 1025]},
    ],
)
def test_what_is_not_a_number(rule: object):
    result = run(rule)

    assert isinstance(result, float)
    assert math.isnan(result)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"cat": ["a", 1, 1.0, 1.5, True, None]}, "a111.5Truenull"),
        ({"cat": [[1, [None, "x"]], {"a": 1, "b": 2}]}, "1,null,x[object Object]"),
        ({"cat": var("plan")}, "pro"),
        ({"cat": [var("plan"), var("age")]}, "pro42"),
        ({"cat": [var("age"), "-"]}, "42-"),
        ({"cat": []}, ""),
        ({"substr": ["jsonlogic", 4]}, "logic"),
        ({"substr": ["jsonlogic", -5]}, "logic"),
        ({"substr": ["jsonlogic", 1, 3]}, "son"),
        ({"substr": ["jsonlogic", 4, -2]}, "log"),
        ({"substr": ["jsonlogic", 7, -5]}, ""),
        ({"substr": ["jsonlogic", -99, 2]}, "js"),
        ({"substr": ["jsonlogic", 99]}, ""),
        ({"substr": ["jsonlogic", "x", "x"]}, ""),
        ({"substr": ["jsonlogic", "1e999"]}, ""),
        ({"substr": ["jsonlogic", 4, "1e999"]}, "logic"),
        ({"substr": [12345, 1, 2]}, "23"),
        ({"in": ["r", var("plan")]}, True),
        ({"in": [var("plan"), "prod"]}, True),
        ({"in": [var("plan"), ["pro", "team"]]}, True),
        ({"in": [var("user.name"), ["jo"]]}, True),
        ({"in": [var("plan"), []]}, False),
        ({"in": [var("tags"), ["a"]]}, False),
        ({"and": [{"in": [var("plan"), ["pro"]]}, {"in": [var("plan"), ["x", {"a": 1, "b": 2}]]}]}, False),
        ({"cat": [var("plan"), {"in": [var("plan"), ["pro"]]}, "!"]}, "proTrue!"),
        ({"in": [{"merge": [var("tags")]}, ["a"]]}, False),
        ({"in": [var("tags"), [["a", "b"]]]}, True),
        ({"in": [var("yes"), [1]]}, True),
        ({"in": ["a", var("tags")]}, True),
        ({"in": [["a"], var("mixed")]}, False),
        ({"in": ["a", 5]}, False),
        ({"in": [None, "null"]}, True),
        ({"merge": [[1], 2, [[3]]]}, [1, 2, [3]]),
        ({"merge": [var("tags"), var("plan")]}, ["a", "b", "pro"]),
        ({"log": "x"}, "x"),
        ({"log": var("plan")}, "pro"),
        ([var("plan"), 1], ["pro", 1]),
        ([[1], [2, [3]]], [[1], [2, [3]]]),
    ],
)
def test_text_and_lists(rule: object, expected: object):
    assert run(rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"map": [var("tags"), {"cat": [var(""), "!"]}]}, ["a!", "b!"]),
        ({"map": [var("tags")]}, [None, None]),
        ({"map": []}, []),
        ({"map": [var("plan"), 1]}, []),
        ({"filter": [[1, 2, 3], {">": [var(""), 1]}]}, [2, 3]),
        ({"filter": [var("tags")]}, []),
        ({"filter": [var("plan"), True]}, []),
        ({"reduce": [[1, 2, 3], {"+": [var("current"), var("accumulator")]}, 10]}, 16),
        ({"reduce": [var("plan"), 1, 5]}, 5),
        ({"reduce": [[], 1, {"var": "plan"}]}, {"var": "plan"}),
        ({"reduce": [[], 1, [1, [2]]]}, [1, [2]]),
        ({"reduce": [[1], var("current")]}, 1),
        ({"reduce": []}, None),
        ({"all": [[1, 2], {">": [var(""), 0]}]}, True),
        ({"all": [[1, 2], {">": [var(""), 1]}]}, False),
        ({"all": [[], True]}, False),
        ({"all": [[1]]}, False),
        ({"some": [[1, 2], {">": [var(""), 1]}]}, True),
        ({"some": [[1, 2], {">": [var(""), 2]}]}, False),
        ({"some": [var("plan"), True]}, False),
        ({"some": [[1]]}, False),
        ({"none": [[1, 2], {">": [var(""), 2]}]}, True),
        ({"none": [[1, 2], {">": [var(""), 1]}]}, False),
        ({"none": [var("plan"), True]}, True),
        ({"none": [[1]]}, True),
    ],
)
def test_loops(rule: object, expected: object):
    assert run(rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"starts_with": [var("plan"), "pr"]}, True),
        ({"starts_with": [var("plan"), "x"]}, False),
        ({"starts_with": [var("age"), "4"]}, None),
        ({"starts_with": ["pro", var("absent")]}, None),
        ({"starts_with": ["pro", var("plan")]}, True),
        ({"starts_with": ["pro"]}, None),
        ({"ends_with": [var("plan"), "ro"]}, True),
        ({"ends_with": [var("age"), "2"]}, None),
        ({"ends_with": ["pro", var("plan")]}, True),
        ({"ends_with": ["pro", "o", "o"]}, None),
        ({"ends_with": ["pro", 1]}, None),
        ({"sem_ver": [var("version"), ">=", "1.2"]}, True),
        ({"sem_ver": [var("version"), "===", "1.2"]}, None),
        ({"sem_ver": [var("version"), ">", "x"]}, None),
        ({"sem_ver": [var("plan"), ">", "1.0.0"]}, None),
        ({"sem_ver": [var("ratio"), "=", "1.5.0"]}, True),
        ({"sem_ver": ["1.2.3", "=", var("version")]}, True),
        ({"sem_ver": ["1.2.3", 1, var("version")]}, None),
        ({"sem_ver": [var("version"), "="]}, None),
        ({"sem_ver": [var("version"), var("absent"), "1.0.0"]}, None),
    ],
)
def test_the_operators_of_flagd_give_null_for_bad_input(rule: object, expected: object):
    assert run(rule) is expected


@pytest.mark.parametrize(
    "rule",
    [{"nope": []}, {"$ref": "nope"}, {"$ref": 5}, {"and": [True, {"nope": 1}]}, var(["a", 1, {"nope": 1}])],
)
def test_an_unknown_operator_fails_when_it_is_reached(rule: object):
    with pytest.raises(MalformedRuleError):
        run(rule)


def test_an_unknown_operator_that_is_not_reached_does_no_harm():
    assert run({"if": [var("yes"), "x", {"nope": 1}]}) == "x"
