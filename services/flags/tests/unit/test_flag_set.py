import gc
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from undercroft.flags.domain import NO_VALUE, DefinitionError, FlagSet, compile_flag_set

BOOLEAN = {"on": True, "off": False}
TARGETED = {"if": [{"==": [{"var": "plan"}, "pro"]}, "on", None]}


def flag(**members: object) -> dict[str, object]:
    return {"state": "ENABLED", "variants": BOOLEAN, "defaultVariant": "off", **members}


def flag_set(*, metadata: object = None, evaluators: object = None, **flags: object) -> FlagSet:
    return compile_flag_set({"flags": flags, "$evaluators": evaluators, "metadata": metadata})


def rendered(flags: FlagSet, key: str, context: Mapping[str, object] | None = None) -> tuple[int, object]:
    status, body = flags.render(key, context or {}, now=0)
    return status, orjson.loads(body)


def test_an_unknown_flag_is_not_found():
    result = flag_set().evaluate("absent", {}, now=0)

    assert (result.error_code, result.reason, result.value) == ("FLAG_NOT_FOUND", "ERROR", NO_VALUE)
    assert rendered(flag_set(), "absent") == (
        404,
        {
            "key": "absent",
            "errorCode": "FLAG_NOT_FOUND",
            "errorDetails": "Flag 'absent' does not exist",
            "metadata": {},
        },
    )


@pytest.mark.parametrize("key", ["\ud800", "x" * 5000, 'é\n"'])
def test_any_unknown_key_can_be_rendered(key: str):
    status, body = rendered(flag_set(), key)

    assert status == 404
    assert isinstance(body, dict)
    assert len(body["errorDetails"]) < 200


def test_a_disabled_flag_leaves_the_value_to_the_caller():
    flags = flag_set(f=flag(state="DISABLED", targeting=TARGETED))

    assert flags.evaluate("f", {"plan": "pro"}, now=0).value is NO_VALUE
    assert rendered(flags, "f") == (200, {"key": "f", "reason": "DISABLED", "variant": "", "metadata": {}})


@pytest.mark.parametrize("targeting", [None, {}])
def test_a_flag_without_targeting_is_static(targeting: object):
    assert rendered(flag_set(f=flag(targeting=targeting)), "f") == (
        200,
        {"key": "f", "value": False, "reason": "STATIC", "variant": "off", "metadata": {}},
    )


def test_a_match_names_its_variant():
    assert rendered(flag_set(f=flag(targeting=TARGETED)), "f", {"plan": "pro"}) == (
        200,
        {"key": "f", "value": True, "reason": "TARGETING_MATCH", "variant": "on", "metadata": {}},
    )


def test_null_from_targeting_gives_the_default():
    result = flag_set(f=flag(targeting=TARGETED)).evaluate("f", {}, now=0)

    assert (result.value, result.variant, result.reason) == (False, "off", "DEFAULT")


@pytest.mark.parametrize("members", [{"defaultVariant": None}, {"defaultVariant": ""}, {}])
@pytest.mark.parametrize("targeting", [None, TARGETED])
def test_without_a_default_variant_the_callers_default_applies(members: dict[str, object], targeting: object):
    definition = {"state": "ENABLED", "variants": BOOLEAN, "targeting": targeting, **members}

    assert rendered(flag_set(f=definition), "f") == (
        200,
        {"key": "f", "reason": "DEFAULT", "variant": "", "metadata": {}},
    )


@pytest.mark.parametrize(
    ("result", "variant"),
    [(True, "true"), (False, "false"), (1, "1"), (1.0, "1.0"), ("1", "1")],
)
def test_scalars_name_variants(result: object, variant: str):
    definition = flag(variants={"true": 1, "false": 2, "1": 3, "1.0": 4, "off": 5}, targeting={"log": result})

    assert flag_set(f=definition).evaluate("f", {}, now=0).variant == variant


@pytest.mark.parametrize("result", ["other", 5, [], ["on"], "x" * 5000])
def test_a_result_that_names_no_variant_is_a_general_error(result: object):
    status, body = rendered(flag_set(f=flag(targeting={"log": [result]})), "f")

    assert status == 400
    assert isinstance(body, dict)
    assert body["errorCode"] == "GENERAL"
    assert len(body["errorDetails"]) < 200


def test_an_object_as_result_is_a_general_error():
    assert flag_set(f=flag(targeting={"a": 1, "b": 2})).evaluate("f", {}, now=0).error_code == "GENERAL"


@pytest.mark.parametrize("variant", ["absent", "empty"])
@pytest.mark.parametrize("targeting", [None, {"log": None}, {"log": "empty"}])
def test_a_variant_that_is_absent_or_null_is_a_general_error(variant: str, targeting: object):
    definition = flag(variants={"on": True, "empty": None}, defaultVariant=variant, targeting=targeting)

    assert flag_set(f=definition).evaluate("f", {}, now=0).error_code == "GENERAL"


@pytest.mark.parametrize(
    "definition",
    [
        None,
        [],
        {},
        flag(state="enabled"),
        flag(state=None),
        flag(state=["ENABLED"]),
        flag(variants={}),
        flag(variants=[1]),
        flag(defaultVariant=5),
        flag(defaultVariant=["on"]),
        flag(metadata=[1]),
        flag(metadata={"a": None}),
        flag(metadata={"": 1}),
        flag(targeting=["on"]),
        flag(targeting="on"),
        flag(targeting={"$ref": "text"}),
        flag(targeting={"$ref": "absent"}),
        flag(targeting={"nope": []}),
        flag(variants={"on": object()}),
    ],
)
def test_a_broken_flag_is_one_parse_error_among_the_others(definition: object):
    flags = flag_set(a=flag(), broken=definition, z=flag(), evaluators={"text": "on"})
    body = orjson.loads(flags.render_all({}, now=0))

    assert [entry.get("errorCode") for entry in body["flags"]] == [None, "PARSE_ERROR", None]
    assert flags.render("broken", {}, now=0)[0] == 400


def test_a_boolean_default_variant_names_true_or_false():
    definition = flag(variants={"true": 1, "false": 0}, defaultVariant=False)

    assert flag_set(f=definition).evaluate("f", {}, now=0).variant == "false"


def test_falsy_values_are_values():
    variants = {"a": 0, "b": "", "c": False, "d": {}, "e": 0.0}
    flags = flag_set(**{name: flag(variants=variants, defaultVariant=name) for name in variants})

    assert [flags.evaluate(name, {}, now=0).value for name in flags.keys] == list(variants.values())


def test_numbers_keep_their_type():
    flags = flag_set(f=flag(variants={"off": 1.0}), i=flag(variants={"off": 1}))

    assert flags.render_all({}, now=0).count(b'"value":1.0,') == 1
    assert b'"value":1,' in flags.render("i", {}, now=0)[1]


def test_metadata_of_the_set_lies_under_that_of_the_flag():
    flags = flag_set(metadata={"team": "a", "tier": 1}, f=flag(metadata={"team": "b"}), g=flag(), h=None)
    body = orjson.loads(flags.render_all({}, now=0))

    assert [entry["metadata"] for entry in body["flags"]] == [
        {"team": "b", "tier": 1},
        {"team": "a", "tier": 1},
        {"team": "a", "tier": 1},
    ]
    assert body["metadata"] == flags.metadata == {"team": "a", "tier": 1}


@pytest.mark.parametrize("metadata", [[], {"a": None}, {"a": 2**70}, "x"])
def test_metadata_that_cannot_be_served_is_left_out(metadata: object):
    assert flag_set(metadata=metadata, f=flag()).metadata == {}


def test_evaluators_are_inlined():
    evaluators = {
        "is_pro": {"==": [{"var": "plan"}, "pro"]},
        "names": ["on", "off"],
        "whole": TARGETED,
        "plans": ["pro"],
    }
    flags = flag_set(
        evaluators=evaluators,
        a=flag(targeting={"if": [{"$ref": "is_pro"}, "on", "off"]}),
        b=flag(targeting={"or": {"$ref": "names"}}),
        c=flag(targeting={"$ref": "whole"}),
        d=flag(targeting={"if": [{"in": ["on", {"$ref": "names"}]}, "on"]}),
        e=flag(targeting={"if": [{"in": [{"var": "plan"}, {"$ref": "plans"}]}, "on"]}),
        f=flag(targeting={"if": [{"in": [{"var": "plan"}, {"$ref": "plans"}]}, "on"]}),
    )

    assert [flags.evaluate(key, {"plan": "pro"}, now=0).variant for key in flags.keys] == ["on"] * 6


@pytest.mark.parametrize("targeting", [{"$ref": "outer"}, {"if": [{"$ref": "outer"}, "on"]}])
def test_a_reference_inside_an_evaluator_is_not_resolved(targeting: object):
    evaluators = {"outer": {"!": {"$ref": "inner"}}, "inner": {"var": "x"}}

    assert flag_set(f=flag(targeting=targeting), evaluators=evaluators).evaluate(
        "f", {}, now=0
    ).error_code == ("PARSE_ERROR")


def test_objects_in_rules_are_copied_per_use():
    # Two uses of one evaluator are two values, as if its text stood there twice.
    same = {"==": [{"$ref": "o"}, {"$ref": "o"}]}

    assert (
        flag_set(f=flag(targeting={"if": [same, "on"]}), evaluators={"o": {"a": [1], "b": 2}})
        .evaluate("f", {}, now=0)
        .variant
        == "off"
    )


def test_a_bulk_is_ordered_by_key_and_joins_what_is_static():
    flags = flag_set(
        c=flag(targeting=TARGETED), b=flag(), a=flag(state="DISABLED"), d=flag(targeting=TARGETED), e=flag()
    )
    entries = orjson.loads(flags.render_all({"plan": "pro"}, now=0))["flags"]

    assert [entry["key"] for entry in entries] == list(flags.keys) == ["a", "b", "c", "d", "e"]
    assert entries == [rendered(flags, key, {"plan": "pro"})[1] for key in flags.keys]


def test_an_empty_set_renders():
    assert compile_flag_set({}).render_all({}, now=0) == b'{"flags":[],"metadata":{}}'
    assert len(compile_flag_set({})) == 0


def test_any_mapping_is_a_context():
    flags = flag_set(f=flag(targeting=TARGETED))

    assert flags.evaluate("f", MappingProxyType({"plan": "pro"}), now=0).variant == "on"
    assert flags.evaluate("f", OrderedDict(plan="pro"), now=0).variant == "on"
    assert b'"on"' in flags.render_all(MappingProxyType({"plan": "pro"}), now=0)


def test_the_timestamp_and_the_key_are_in_the_context():
    rule = {"if": [{"<": [{"var": "$flagd.timestamp"}, 100]}, "on", "off"]}
    dynamic = {"if": [{"==": [{"var": {"cat": ["$flagd", ".flagKey"]}}, "g"]}, "on", "off"]}
    flags = flag_set(f=flag(targeting=rule), g=flag(targeting=dynamic))

    assert [flags.evaluate("f", {}, now=now).variant for now in (99, 100)] == ["on", "off"]
    assert flags.evaluate("g", {"$flagd": {"flagKey": "x"}}, now=0).variant == "on"


@pytest.mark.parametrize(
    ("document", "pointer"), [({"flags": []}, "/flags"), ({"$evaluators": "x"}, "/$evaluators")]
)
def test_a_document_without_objects_is_refused(document: dict[str, object], pointer: str):
    with pytest.raises(DefinitionError) as caught:
        compile_flag_set(document)

    assert [(problem.pointer, problem.code) for problem in caught.value.problems] == [(pointer, "wrong_type")]


def test_the_version_tells_definitions_apart():
    base: dict[str, Any] = {
        "flags": {"a": flag(), "b": flag(variants={"off": 1})},
        "metadata": {"m": 1},
        "$evaluators": {"e": True},
    }
    reordered = {
        "metadata": {"m": 1},
        "$evaluators": {"e": True},
        "flags": dict(reversed(base["flags"].items())),
    }
    others = [
        base | {"metadata": {"m": 2}},
        base | {"$evaluators": {"e": 1}},
        base | {"flags": {"a": flag(), "b": flag(variants={"off": 1.0})}},
        base | {"flags": {"a": flag(), "c": flag(variants={"off": 1})}},
    ]

    assert compile_flag_set(base).version == compile_flag_set(reordered).version
    assert len({compile_flag_set(document).version for document in [base, *others]}) == 5


def test_unchanged_flags_are_taken_from_the_previous_set():
    referring = flag(targeting={"if": [{"$ref": "e"}, "on"]})
    first = flag_set(a=flag(targeting=TARGETED), b=referring, c=flag(), d=object(), evaluators={"e": True})
    document = {
        "flags": {"a": flag(targeting=TARGETED), "b": referring, "c": flag(state="DISABLED"), "d": object()},
        "$evaluators": {"e": False},
    }
    second = compile_flag_set(document, previous=first)

    assert [second._flags[key] is first._flags[key] for key in "abcd"] == [True, False, False, True]
    assert [second.evaluate(key, {}, now=0).variant for key in "abc"] == ["off", "off", ""]
    assert second.version == compile_flag_set(document).version


@pytest.mark.parametrize("is_enabled", [True, False])
def test_a_large_load_restores_the_garbage_collector(is_enabled: object):
    was_enabled = gc.isenabled()
    (gc.enable if is_enabled else gc.disable)()
    try:
        flags = compile_flag_set({"flags": {f"flag-{number}": flag() for number in range(501)}})
        assert gc.isenabled() is is_enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()

    assert "flag-500" in flags
