"""Sets made of stored texts: compiled when asked for, replaced flag by flag, and the same as those of a document."""

import json
from collections.abc import Mapping

import orjson
import pytest

from undercroft.flags.domain import compile_flag_set
from undercroft.flags.domain.flag_set import FlagSet, load_flag_set

FRAME = {"flags": {}, "$evaluators": {"is_pro": {"==": [{"var": "plan"}, "pro"]}}, "metadata": {"a": 1}}
DEFINITIONS: Mapping[str, object] = {
    "static": {"state": "ENABLED", "variants": {"on": 1.0}, "defaultVariant": "on"},
    "targeted": {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": {"if": [{"$ref": "is_pro"}, "on"]},
    },
    "disabled": {"state": "DISABLED", "variants": {"on": True}},
    "broken": {"state": "ENABLED"},
    "unknown": {"state": "ENABLED", "variants": {"on": True}, "targeting": {"nothing": []}},
}
TEXTS = {key: json.dumps(definition) for key, definition in DEFINITIONS.items()}
CONTEXTS: list[dict[str, object]] = [{}, {"plan": "pro"}]


def loaded() -> FlagSet:
    return load_flag_set(FRAME, TEXTS)


@pytest.mark.parametrize("context", CONTEXTS)
def test_texts_mean_what_their_document_means(context: dict[str, object]):
    document = compile_flag_set({**FRAME, "flags": DEFINITIONS})
    assert loaded().render_all(context, now=0) == document.render_all(context, now=0)
    assert [loaded().evaluate(key, context, now=0) for key in DEFINITIONS] == [
        document.evaluate(key, context, now=0) for key in DEFINITIONS
    ]


@pytest.mark.parametrize("text", ["{", "[" * 300 + "]" * 300, '{"variants":' + "[" * 300 + "]" * 300 + "}"])
def test_a_text_that_cannot_be_read_is_one_error(text: str):
    flags = load_flag_set(FRAME, {**TEXTS, "static": text})
    assert flags.evaluate("static", {}, now=0).error_code == "PARSE_ERROR"
    assert [flag["key"] for flag in orjson.loads(flags.render_all({}, now=0))["flags"]] == sorted(TEXTS)


def test_a_set_is_prepared_a_piece_at_a_time():
    flags = loaded()
    assert [flags.prepare(2) for _ in range(4)] == [False, False, True, True]
    assert flags.render_all({}, now=0) == loaded().render_all({}, now=0)


def test_what_was_evaluated_needs_no_preparation():
    flags = loaded()
    for key in flags.keys:
        flags.evaluate(key, {}, now=0)
    assert flags.prepare(1) is True


@pytest.mark.parametrize(
    ("changed", "without"),
    [
        ({"static": TEXTS["disabled"]}, ()),
        ({"static": TEXTS["static"]}, ()),
        ({"another": TEXTS["static"], "a": TEXTS["targeted"]}, ()),
        ({}, ("targeted", "nobody")),
        ({"zebra": TEXTS["broken"]}, ("static",)),
    ],
)
def test_a_replaced_set_is_the_one_that_would_be_loaded(changed: dict[str, str], without: tuple[str, ...]):
    before = loaded()
    after = before.replaced(changed, without=without)
    texts = {key: text for key, text in {**TEXTS, **changed}.items() if key not in without}
    fresh = load_flag_set(FRAME, texts)
    assert (after.version, after.keys) == (fresh.version, fresh.keys)
    assert after.render_all({"plan": "pro"}, now=0) == fresh.render_all({"plan": "pro"}, now=0)
    untouched = set(TEXTS) - set(changed) - set(without)
    assert all(after._flags[key] is before._flags[key] for key in untouched)


def test_a_changed_evaluator_concerns_whoever_may_refer_to_one():
    before = loaded()
    other = {**FRAME, "$evaluators": {"is_pro": {"==": [{"var": "plan"}, "free"]}}}
    escaped = TEXTS["targeted"].replace("$ref", "\\u0024ref")
    after = load_flag_set(other, {**TEXTS, "targeted": escaped}, previous=before)
    assert [key for key in TEXTS if after._flags[key] is not before._flags[key]] == ["targeted"]
    assert after.evaluate("targeted", {"plan": "free"}, now=0).variant == "on"
    assert (
        load_flag_set(other, TEXTS, previous=before).evaluate("targeted", {"plan": "pro"}, now=0).variant
        == "off"
    )
