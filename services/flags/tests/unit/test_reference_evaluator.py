"""Differential test: any definition and context mean what they mean to the reference evaluator (flagd-core)."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, GeneralError, OpenFeatureError, ParseError

from undercroft.flags.domain.evaluation import NO_VALUE, ErrorCode, Evaluation
from undercroft.flags.domain.flag_set import compile_flag_set
from undercroft.flags.domain.json_logic import OPERATOR_NAMES

NOW = 1_700_000_000
NIGHTLY = os.environ.get("UNDERCROFT_HYPOTHESIS_PROFILE") == "nightly"
CHECKED = settings(
    max_examples=20_000 if NIGHTLY else 700,  # by three tests
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
ERROR_CODES = {
    ErrorCode.PARSE_ERROR: ParseError,
    ErrorCode.GENERAL: GeneralError,
    ErrorCode.FLAG_NOT_FOUND: FlagNotFoundError,
}
VARIANTS = {"on": True, "off": False, "true": True, "1": True, "3.0": False, "False": True, "empty": None}
OPERATORS = [*sorted(OPERATOR_NAMES - {"log", "fractional"}), "unknown_operator"]
NAMES = (
    "plan",
    "age",
    "tags",
    "user",
    "user.name",
    "user.0",
    "tags.1",
    "tags.length",
    "targetingKey",
    "nested.a.b",
)

texts = st.sampled_from(
    [
        "",
        "a",
        "pro",
        "prod",
        "on",
        "off",
        "true",
        "0",
        "1",
        "3",
        " 2 ",
        "1.0.0",
        "v1.2",
        "2.0.0-rc.1",
        "inf",
        "null",
        "é",
    ]
) | st.text(max_size=4)
numbers = (
    st.integers(-3, 5)
    | st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.5, -1.5, 1e22, 1e300, 2**53 + 1, 2**63, -(2**63)])
    | st.floats(allow_nan=False, allow_infinity=False)
)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "0", "name"]), inner, max_size=3)
    ),
    max_leaves=6,
)
paths = st.sampled_from(
    [
        *NAMES,
        "",
        "current",
        "accumulator",
        "a",
        "0",
        "length",
        "$flagd.flagKey",
        "$flagd.timestamp",
        "$flagd.flagKey.0",
    ]
)


def operations(rules: SearchStrategy[object]) -> SearchStrategy[object]:
    """Generate every operator over the given rules, mostly with sensible arguments."""
    few = st.lists(rules, max_size=4)
    keys = paths | st.integers(-1, 2) | rules
    versions = st.sampled_from(["1.0.0", "v1", "1.2", "2.0.0-rc.1", "1.0.0-1", "1.0.0+b", "x"]) | rules
    comparisons = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "^", "~", "==="]) | rules
    weights = st.integers(-2, 50) | rules
    bucket = st.tuples(st.sampled_from(list(VARIANTS)) | rules, weights).map(list) | st.lists(
        rules, max_size=3
    )
    names = st.sampled_from(OPERATORS)
    return st.one_of(
        st.builds(lambda name, arguments: {name: arguments}, names, few),
        st.builds(lambda name, argument: {name: argument}, names, rules),
        keys.map(lambda key: {"var": key}),
        st.builds(lambda key, default: {"var": [key, default]}, keys, rules),
        st.lists(paths, max_size=3).map(lambda keys: {"missing": keys}),
        st.builds(
            lambda needed, keys: {"missing_some": [needed, keys]},
            st.integers(0, 2),
            st.lists(paths, max_size=3),
        ),
        st.builds(
            lambda name, a, b: {name: [a, b]},
            st.sampled_from(["==", "<", "in", "starts_with", "cat"]),
            rules,
            rules,
        ),
        st.builds(
            lambda name, a: {"in": [name, a]},
            paths.map(lambda key: {"var": key}),
            st.lists(scalars, max_size=4),
        ),
        st.builds(lambda a, b, c: {"if": [a, b, c]}, rules, rules, rules),
        st.builds(lambda a, op, b: {"sem_ver": [a, op, b]}, versions, comparisons, versions),
        st.builds(
            lambda name, items, body: {name: [items, body]},
            st.sampled_from(["map", "filter", "all", "some", "none", "reduce"]),
            rules | st.lists(rules, max_size=3),
            rules,
        ),
        st.builds(lambda items, body, start: {"reduce": [items, body, start]}, rules, rules, values),
        st.lists(bucket, min_size=1, max_size=3).map(lambda buckets: {"fractional": buckets}),
        st.builds(
            lambda value, buckets: {"fractional": [value, *buckets]}, rules, st.lists(bucket, max_size=3)
        ),
    )


references = st.sampled_from(["first", "second", "absent"]).map(lambda name: {"$ref": name})
literals = scalars | st.sampled_from(list(VARIANTS)) | st.lists(scalars, max_size=3) | values
variables = paths.map(lambda key: {"var": key})
plain_rules = st.recursive(literals | variables, operations, max_leaves=8)
rules = st.recursive(literals | variables | references, operations, max_leaves=12)
# The reference replaces references in text, and trips over a backslash there.
evaluators = st.fixed_dictionaries({"first": plain_rules, "second": plain_rules}).filter(
    lambda named: "\\" not in json.dumps(named)
)
roots = operations(rules) | references | rules
contexts = st.fixed_dictionaries(
    {},
    optional={
        "targetingKey": texts,
        "plan": texts | scalars,
        "age": numbers | values,
        "tags": st.lists(values, max_size=3),
        "user": st.dictionaries(st.sampled_from(["name", "0", "a"]), values, max_size=2) | values,
        "nested": st.just({"a": {"b": 1}}) | values,
        "$flagd": values,
    },
)


class ReferenceSurpriseError(Exception):
    """The reference evaluator raised something that is no OpenFeature error."""


@contextmanager
def _quiet_at(now: int) -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        with patch("time.time", return_value=now):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _ask_reference(document: Mapping[str, object], context: Mapping[str, Any]) -> tuple[object, ...]:
    """Return value, variant and reason, or the class of the error; raises ReferenceSurpriseError for any other exception."""
    attributes = {name: value for name, value in context.items() if name != "targetingKey"}
    targeting_key = context.get("targetingKey")
    core = FlagdCore()
    with _quiet_at(NOW):
        try:
            core.set_flags(json.dumps(document))
            # The typed methods only add a comparison with the type asked for, which OFREP does not have.
            details = core._resolve("flag", NO_VALUE, EvaluationContext(targeting_key, attributes))
        except OpenFeatureError as error:
            return (type(error),)
        except Exception as error:
            raise ReferenceSurpriseError from error
    return details.value, details.variant or "", str(details.reason)


def _as_tuple(evaluation: Evaluation) -> tuple[object, ...]:
    if evaluation.error_code is not None:
        return (ERROR_CODES[evaluation.error_code],)
    return evaluation.value, evaluation.variant, str(evaluation.reason)


def _assert_same(document: Mapping[str, object], context: Mapping[str, object]) -> None:
    evaluation = compile_flag_set(document).evaluate("flag", context, now=NOW)
    try:
        expected = _ask_reference(document, context)
    except ReferenceSurpriseError:
        # Documented in json_logic: we answer with JavaScript's value or with one error entry.
        return
    assert _as_tuple(evaluation) == expected


def _document(targeting: object, evaluators: Mapping[str, object] | None = None) -> dict[str, Any]:
    flag = {"state": "ENABLED", "variants": VARIANTS, "defaultVariant": "off", "targeting": targeting}
    return {"flags": {"flag": flag}, "$evaluators": dict(evaluators or {})}


@given(targeting=roots, evaluators=evaluators, context=contexts)
@CHECKED
def test_any_targeting_means_what_it_means_to_the_reference(
    targeting: object, evaluators: dict[str, object], context: dict[str, object]
) -> None:
    _assert_same(_document(targeting, evaluators), context)


@given(rule=roots.filter(lambda rule: "$ref" not in json.dumps(rule)), context=contexts)
@CHECKED
def test_any_intermediate_value_is_the_same(rule: object, context: dict[str, object]) -> None:
    # Hashing the value tells apart what a variant's name would not show.
    buckets = [[f"v{number}", 1] for number in range(97)]
    document = _document({"fractional": [rule, *buckets]})
    document["flags"]["flag"]["variants"] = {f"v{number}": number for number in range(97)}
    _assert_same(document, context)


@given(
    flag=st.fixed_dictionaries(
        {},
        optional={
            "state": st.sampled_from(["ENABLED", "DISABLED", "enabled", "", None, 1]),
            "variants": st.dictionaries(texts, scalars.filter(lambda value: value is not None), max_size=3)
            | values,
            "defaultVariant": texts | scalars,
            "targeting": values | rules,
            "metadata": st.dictionaries(texts, scalars, max_size=2) | st.none(),
        },
    )
)
@CHECKED
def test_any_definition_is_loaded_or_refused_as_by_the_reference(flag: dict[str, object]) -> None:
    _assert_same({"flags": {"flag": flag}}, {"targetingKey": "user"})


@pytest.mark.parametrize("divisor", [0, 0.0, False, None])
def test_the_reference_raises_where_we_divide_by_zero(divisor: object) -> None:
    document = _document({"/": [1, divisor]})

    with pytest.raises(ReferenceSurpriseError):
        _ask_reference(document, {})
    assert compile_flag_set(document).evaluate("flag", {}, now=NOW).error_code is ErrorCode.GENERAL
