from typing import Any

import pytest

from undercroft.flags.domain import DefinitionError, validate_document, validate_flag, variant_type
from undercroft.flags.domain.problems import MAX_PROBLEMS

EVALUATORS = {"is_pro": {"==": [{"var": "plan"}, "pro"]}}


def flag(**members: object) -> dict[str, object]:
    return {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off", **members}


def problems_of_flag(
    definition: object, key: str = "flag", *, is_lenient: bool = False
) -> list[tuple[str, str]]:
    try:
        validate_flag(key, definition, EVALUATORS, is_lenient=is_lenient)
    except DefinitionError as error:
        return [(problem.pointer, problem.code) for problem in error.problems]
    return []


def problems_of(document: object, *, is_lenient: bool = False) -> list[tuple[str, str]]:
    try:
        validate_document(document, is_lenient=is_lenient)
    except DefinitionError as error:
        return [(problem.pointer, problem.code) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "definition",
    [
        flag(),
        flag(defaultVariant=None, targeting={}, metadata={}),
        flag(state="DISABLED", targeting=None, metadata={"s": "x", "n": 1.5, "b": True}),
        flag(variants={"a": 1, "b": 1.5}, defaultVariant="a"),
        flag(variants={"a": {}, "b": {"x": [1]}, "c": []}, defaultVariant="a"),
        flag(targeting={"if": [{"$ref": "is_pro"}, "on", "off"]}),
        flag(
            targeting={
                "if": [{"in": [{"var": "a"}, ["x", "y"]]}, "on", {"==": [{"var": "b"}, 1]}, "off", None]
            }
        ),
        flag(targeting={"fractional": [["on", 1], ["off"]]}),
        flag(targeting={"fractional": [{"var": "id"}, ["on", {"var": "weight"}], [{"var": "name"}, 5]]}),
        flag(targeting={"if": [{"sem_ver": [{"var": "v"}, "^", "1.2"]}, "on"]}),
        flag(targeting={"if": [{"reduce": [{"var": "l"}, {"+": [1, 2]}, {"any": 1, "thing": 2}]}, "on"]}),
        flag(targeting={"if": [{"missing": []}, "on"]}),
        flag(targeting={"or": [{"and": [{"var": "x"}, "on"]}, "off"]}),
        flag(targeting={"and": {"$ref": "is_pro"}}),
        flag(
            variants={"true": 1, "false": 0}, defaultVariant="true", targeting={"or": [{"var": "x"}, False]}
        ),
    ],
)
def test_good_definitions_pass(definition: object):
    assert problems_of_flag(definition) == []


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (5, [("", "wrong_type")]),
        (flag(variants={"on": object()}), [("", "not_json")]),
        (flag(variants={"on": "x" * 300_000}), [("", "too_large")]),
        (flag(**{"de/s~c": 1}), [("/de~1s~0c", "unknown_member")]),
        (flag(state="on"), [("/state", "invalid_state")]),
        (flag(state=[]), [("/state", "invalid_state")]),
        (flag(variants=[]), [("/variants", "wrong_type"), ("/variants", "missing_variants"), ("/defaultVariant", "unknown_default_variant")]),
        (flag(variants={}, defaultVariant=None), [("/variants", "missing_variants")]),
        (flag(variants={f"v{number}": 1 for number in range(201)}, defaultVariant=None), [("/variants", "too_many_members"), ("/variants", "missing_variants")]),
        (flag(variants={"": True, "off": False}), [("/variants/", "invalid_name")]),
        (flag(variants={"off": None}), [("/variants/off", "invalid_variant")]),
        (flag(variants={"off": True, "x": 1}), [("/variants/x", "mixed_variants")]),
        (flag(defaultVariant="x"), [("/defaultVariant", "unknown_default_variant")]),
        (flag(defaultVariant=True), [("/defaultVariant", "wrong_type")]),
        (flag(metadata=[1]), [("/metadata", "wrong_type")]),
        (flag(metadata={"": 1}), [("/metadata/", "invalid_name")]),
        (flag(metadata={"a": None}), [("/metadata/a", "wrong_type")]),
        (flag(metadata={str(number): 1 for number in range(101)}), [("/metadata", "too_many_members")]),
        (flag(targeting=["on"]), [("/targeting", "wrong_type")]),
        (flag(targeting={"nope": 1}), [("/targeting", "unknown_operator")]),
        (flag(targeting={"if": [{"a": 1, "b": 2}, "on"]}), [("/targeting/if/0", "invalid_rule")]),
        (flag(targeting={"if": [{"!": {}}, "on"]}), [("/targeting/if/0/!", "invalid_rule")]),
        (flag(targeting={"if": [{"$ref": "x"}, "on"]}), [("/targeting/if/0", "unknown_evaluator")]),
        (flag(targeting={"if": [{"$ref": 1}, "on"]}), [("/targeting/if/0", "wrong_type")]),
        (flag(targeting={"and": {"$ref": "x"}}), [("/targeting/and", "unknown_evaluator")]),
        (flag(targeting={"if": [True, "on", "of"]}), [("/targeting/if/2", "unknown_variant")]),
        (flag(targeting={"if": [True, True]}), [("/targeting/if/1", "unknown_variant")]),
        (flag(targeting={"or": [{"var": "x"}, "no"]}), [("/targeting/or/1", "unknown_variant")]),
        (flag(targeting={"and": ["x", "no"]}), [("/targeting/and/1", "unknown_variant")]),
        (flag(targeting={"if": "of"}), [("/targeting/if", "unknown_variant")]),
        (flag(targeting={"fractional": [["on"], ["no", 1]]}), [("/targeting/fractional/1/0", "unknown_variant")]),
        (flag(targeting={"==": [1]}), [("/targeting/==", "wrong_argument_count")]),
        (flag(targeting={"<": [1, 2, 3, 4]}), [("/targeting/<", "wrong_argument_count")]),
        (flag(targeting={"cat": []}), [("/targeting/cat", "wrong_argument_count")]),
        (flag(targeting={"fractional": []}), [("/targeting/fractional", "wrong_argument_count"), ("/targeting/fractional", "invalid_fraction")]),
        (flag(targeting={"sem_ver": ["1.0.0", "=="]}), [("/targeting/sem_ver", "wrong_argument_count")]),
        (flag(targeting={"sem_ver": ["x", "==", {"var": "v"}]}), [("/targeting/sem_ver/1", "invalid_version_comparison"), ("/targeting/sem_ver/0", "invalid_version")]),
        (flag(targeting={"sem_ver": ["1", 5, [1]]}), [("/targeting/sem_ver/1", "invalid_version_comparison"), ("/targeting/sem_ver/2", "invalid_version")]),
        (flag(targeting={"fractional": [["on", -1], ["off", 5]]}), [("/targeting/fractional/0/1", "invalid_fraction")]),
        (flag(targeting={"fractional": [["on", 1.5], ["off", True]]}), [("/targeting/fractional/0/1", "invalid_fraction"), ("/targeting/fractional/1/1", "invalid_fraction")]),
        (flag(targeting={"fractional": [["on", 0]]}), [("/targeting/fractional", "invalid_fraction")]),
        (flag(targeting={"fractional": [["on", 2**31]]}), [("/targeting/fractional", "invalid_fraction")]),
        (flag(targeting={"fractional": [{"var": "a"}, "on", ["off", 1]]}), [("/targeting/fractional/1", "invalid_fraction")]),
        (flag(targeting={"fractional": [{"var": "a"}, {"nope": 1}, ["off", 1]]}), [("/targeting/fractional/1", "invalid_fraction"), ("/targeting/fractional/1", "unknown_operator")]),
        (flag(targeting={"fractional": [["on", 1, 1], ["off", 1]]}), [("/targeting/fractional/0", "invalid_fraction")]),
        (flag(targeting={"and": [{"var": "x"}] * 2_001}), [("/targeting", "rule_too_large")]),
    ],
)  # fmt: skip
def test_each_mistake_has_a_pointer_and_a_code(definition: object, expected: list[tuple[str, str]]):
    assert problems_of_flag(definition) == expected


@pytest.mark.parametrize("key", ["", "a b", "a/b", "é", "x" * 129, "flag\n"])
def test_a_flag_key_is_plain(key: str):
    assert problems_of_flag(flag(), key) == [("", "invalid_key")]


def test_a_rule_that_is_too_deep_is_refused():
    rule: Any = "on"
    for _ in range(200):
        rule = {"if": [True, rule]}
    for _ in range(100):
        rule = {"if": [True, rule]}

    assert problems_of_flag(flag(targeting=rule)) == [("", "not_json")]
    assert problems_of_flag(flag(targeting=rule["if"][1]))[0][1] in {"not_json", "rule_too_large"}


def test_problems_are_bounded():
    definition = flag(targeting={"or": [{"nope": 1}] * 100})

    assert len(problems_of_flag(definition)) == MAX_PROBLEMS
    assert len(problems_of({"flags": {f"k {number}": flag() for number in range(100)}})) == MAX_PROBLEMS


@pytest.mark.parametrize(
    "definition",
    [
        flag(source="s", selector="x"),
        flag(defaultVariant="x"),
        flag(targeting={"if": [{"$ref": "x"}, "on"]}),
        flag(targeting={"starts_with": ["abc"]}),
        flag(targeting={"sem_ver": ["x", "===", "1.0.0"]}),
        flag(targeting={"fractional": [["on", -1], ["no", 0]]}),
    ],
)
def test_what_flagd_loads_can_be_imported(definition: object):
    assert problems_of_flag(definition) != []
    assert problems_of_flag(definition, is_lenient=True) == []


@pytest.mark.parametrize(
    "definition",
    [
        5,
        flag(state="on"),
        flag(variants={}),
        flag(variants={"off": True, "x": 1}),
        flag(description="x"),
        flag(metadata={"a": None}),
        flag(targeting={"nope": 1}),
        flag(targeting={"if": [{"a": 1, "b": 2}, "on"]}),
        flag(targeting={"and": [{"var": "x"}] * 2_001}),
    ],
)
def test_structural_mistakes_cannot_be_imported(definition: object):
    assert problems_of_flag(definition, is_lenient=True) != []


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"flags": {"a": flag()}, "$evaluators": EVALUATORS, "metadata": {"m": 1}, "$schema": "x"}, []),
        ({"flags": {}}, []),
        ([], [("", "wrong_type")]),
        ({}, [("/flags", "missing_member")]),
        ({"flags": []}, [("/flags", "wrong_type")]),
        ({"flags": {}, "extra": 1}, [("/extra", "unknown_member")]),
        ({"flags": {}, "metadata": {"m": []}}, [("/metadata/m", "wrong_type")]),
        ({"flags": {}, "$evaluators": {"": True}}, [("/$evaluators/", "invalid_name")]),
        ({"flags": {}, "$evaluators": {"e": object()}}, [("/$evaluators/e", "not_json")]),
        (
            {"flags": {}, "$evaluators": {"e": {"$ref": "f"}, "f": 1}},
            [("/$evaluators/e", "nested_reference")],
        ),
        ({"flags": {}, "$evaluators": {"e": {"nope": 1}}}, [("/$evaluators/e", "unknown_operator")]),
        (
            {"flags": {}, "$evaluators": {str(n): 1 for n in range(2_001)}},
            [("/$evaluators", "too_many_members")],
        ),
        ({"flags": {"a": 1, "b/c": flag()}}, [("/flags/a", "wrong_type"), ("/flags/b~1c", "invalid_key")]),
    ],
)
def test_documents(document: object, expected: list[tuple[str, str]]):
    assert problems_of(document) == expected


def test_other_members_of_a_document_can_be_imported():
    assert problems_of({"flags": {"a": flag()}, "$comment": "x"}, is_lenient=True) == []
    assert problems_of({"flags": {}, "$evaluators": {"e": {"$ref": "f"}}}, is_lenient=True) != []


def test_an_error_says_where_and_what():
    with pytest.raises(DefinitionError, match="/state: the state is ENABLED or DISABLED"):
        validate_flag("flag", flag(state=""), {})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "boolean"),
        ("", "string"),
        (1, "number"),
        (1.5, "number"),
        ({}, "object"),
        ([], "object"),
        (None, None),
    ],
)
def test_the_type_of_a_variant(value: object, expected: str | None):
    assert variant_type(value) == expected
