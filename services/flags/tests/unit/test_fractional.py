import json
from pathlib import Path

import cbor2
import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.flags.domain import Evaluation, compile_flag_set
from undercroft.flags.domain.canonical_cbor import encode
from undercroft.flags.domain.fractional import Split

SUITS = [["clubs", 25], ["diamonds", 25], ["hearts", 25], ["spades", 25]]
SIDES = [["heads", 1], ["tails", 1]]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(
        [0.0, -0.0, 1.5, 65504.0, 65505.0, 1e-45, 5.96e-8, 2.0**63, 2.0**64, -(2.0**63), 3.4e38]
    )
    | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=30), inner, max_size=30),
    max_leaves=30,
)


def normalized(value: object) -> object:
    if isinstance(value, dict):
        return {name: normalized(item) for name, item in value.items()}
    if isinstance(value, list):
        return [normalized(item) for item in value]
    if isinstance(value, float) and value.is_integer() and -(2**63) <= value <= 2**64 - 1:
        return int(value)
    return value


def evaluate(targeting: object, context: dict[str, object], key: str = "flag") -> Evaluation:
    variants = {name: name for name in ("clubs", "diamonds", "hearts", "spades", "heads", "tails", "default")}
    flag = {"state": "ENABLED", "variants": variants, "defaultVariant": "default", "targeting": targeting}
    return compile_flag_set({"flags": {key: flag}}).evaluate(key, context, now=0)


@given(json_values)
def test_the_encoding_is_that_of_the_cbor_library(value: object):
    assert encode(value) == cbor2.dumps(normalized(value), canonical=True)


@pytest.mark.parametrize("length", [23, 24, 255, 256, 65_535, 65_536])
def test_lengths_are_encoded_in_the_shortest_form(length: int):
    assert encode("x" * length) == cbor2.dumps("x" * length, canonical=True)
    assert encode([0] * length) == cbor2.dumps([0] * length, canonical=True)


@pytest.mark.parametrize(
    "number", [23, 24, 2**8, 2**16, 2**32, 2**64, 2**72, -1, -24, -25, -(2**64), -(2**64) - 1]
)
def test_integers_are_encoded_in_the_shortest_form(number: int):
    assert encode(number) == cbor2.dumps(number, canonical=True)


@pytest.mark.parametrize(
    "number", [1.5, 0.1, 1e300, 65504.5, 5.960464477539063e-08, float("inf"), float("-inf"), float("nan")]
)
def test_fractions_are_encoded_in_the_shortest_form(number: float):
    assert encode(number) == cbor2.dumps(number, canonical=True)


def test_only_json_is_encoded():
    with pytest.raises(TypeError):
        encode(object())


@pytest.mark.parametrize(
    ("name", "encoded", "hash_value", "variant"),
    [
        ("jack", "736672616374696f6e616c2d666c61676a61636b", 1435348822, "diamonds"),
        ("queen", "746672616374696f6e616c2d666c6167717565656e", 2128956876, "diamonds"),
        ("ten", "726672616374696f6e616c2d666c616774656e", 448151196, "clubs"),
        ("nine", "736672616374696f6e616c2d666c61676e696e65", 212516069, "clubs"),
        ("3", "706672616374696f6e616c2d666c616733", 3444928664, "spades"),
    ],
)
def test_vectors_of_version_3(name: str, encoded: str, hash_value: int, variant: str):
    rule = {"fractional": [{"cat": [{"var": "$flagd.flagKey"}, {"var": "user.name"}]}, *SUITS]}

    assert encode(f"fractional-flag{name}").hex() == encoded
    assert mmh3.mmh3_32_uintdigest(bytes.fromhex(encoded)) == hash_value
    assert evaluate(rule, {"user": {"name": name}}, "fractional-flag").variant == variant


@pytest.mark.parametrize(
    ("targeting_key", "variant"), [("jon@company.com", "tails"), ("jane@company.com", "tails")]
)
def test_vectors_of_the_shorthand(targeting_key: str, variant: str):
    result = evaluate({"fractional": SIDES}, {"targetingKey": targeting_key}, "fractional-flag-shorthand")

    assert result.variant == variant


def test_every_published_vector(specifications: Path):
    cases = json.loads((specifications / "fractional-vectors.json").read_text())["cases"]
    for case in cases:
        if "cbor_v3" not in case:
            # The others are about the hash of the operator's version 2 and about the spread over the buckets.
            assert mmh3.hash(case["bucketBy"].encode(), signed=False) == case["hash_v2"]
            assert case["hash_v2"] * 100 >> 32 == case["bucket_of_100"]
        elif case.get("shorthand"):
            result = evaluate(
                {"fractional": case["weights"]}, {"targetingKey": case["targetingKey"]}, case["flagKey"]
            )
            assert encode([case["flagKey"], case["targetingKey"]]).hex() == case["cbor_v3"]
            assert result.variant == case["v3"]
        else:
            result = evaluate({"fractional": [{"var": "b"}, *case["weights"]]}, {"b": case["bucketBy"]})
            assert encode(case["bucketBy"]).hex() == case["cbor_v3"]
            assert result.variant == case["v3"]


@pytest.mark.parametrize(
    "buckets",
    [
        [["clubs", 0], ["hearts", 0]],
        [["clubs", -5]],
        [["clubs", 2**31 - 1], ["hearts", 1]],
        [["clubs", 1.0]],
        [["clubs", True]],
        [["clubs", None]],
        [["clubs", 1, 1]],
        [[]],
        ["clubs"],
        [],
    ],
)
@pytest.mark.parametrize("value", [{"var": "targetingKey"}, "literal"])
def test_unusable_buckets_give_null(buckets: list[object], value: object):
    assert evaluate({"fractional": [value, *buckets]}, {"targetingKey": "user"}).reason == "DEFAULT"


@pytest.mark.parametrize("context", [{}, {"targetingKey": ""}, {"targetingKey": 5}, {"targetingKey": None}])
def test_the_shorthand_needs_a_targeting_key(context: dict[str, object]):
    assert evaluate({"fractional": SIDES}, context).reason == "DEFAULT"
    assert evaluate({"fractional": [["heads", {"var": "absent"}], *SIDES]}, context).reason == "DEFAULT"


def test_no_arguments_give_null():
    assert evaluate({"fractional": []}, {"targetingKey": "user"}).reason == "DEFAULT"


def test_no_bucketing_value_gives_null():
    assert evaluate({"fractional": [{"var": "absent"}, *SIDES]}, {"targetingKey": "user"}).reason == "DEFAULT"


def test_what_cannot_be_encoded_gives_null():
    context: dict[str, object] = {"targetingKey": "\ud800", "text": "\ud800" * 2000, "list": ["\ud800"]}

    assert evaluate({"fractional": SIDES}, context).reason == "DEFAULT"
    assert evaluate({"fractional": [{"var": "text"}, *SIDES]}, context).reason == "DEFAULT"
    assert evaluate({"fractional": [{"cat": [{"var": "list"}]}, *SIDES]}, context).reason == "DEFAULT"


@pytest.mark.parametrize("value", [5, 5.0, 5.5, True, {"a": [1]}, "x" * 2000])
def test_any_type_can_be_bucketed(value: object):
    rule = {"fractional": [{"var": "value"}, *SUITS]}
    expected = mmh3.hash(cbor2.dumps(normalized(value), canonical=True), signed=False) * 100 >> 32

    assert evaluate(rule, {"value": value}).variant == SUITS[expected // 25][0]


def test_a_list_as_bucketing_value_is_the_first_bucket_of_the_shorthand():
    literal = evaluate({"fractional": SIDES}, {"targetingKey": "user"})
    computed = evaluate(
        {"fractional": [{"var": "first"}, SIDES[1]]}, {"targetingKey": "user", "first": SIDES[0]}
    )

    assert computed.variant == literal.variant


def test_names_and_weights_may_be_rules():
    rule = {"fractional": [[{"var": "name"}, {"var": "weight"}], ["tails", 0]]}

    assert evaluate(rule, {"targetingKey": "u", "name": "heads", "weight": 3}).variant == "heads"
    assert evaluate(rule, {"targetingKey": "u", "name": "heads", "weight": "3"}).reason == "DEFAULT"


@pytest.mark.parametrize(
    ("item", "is_chosen"),
    [
        ({"targetingKey": "user", "$flagd": {"flagKey": "x"}}, True),
        ({"targetingKey": "user"}, True),
        ({}, False),
        (5, False),
    ],
)
def test_inside_a_loop_the_item_is_the_subject(item: object, is_chosen: object):
    rule = {"if": [{"some": [{"var": "items"}, {"fractional": [[True, 1], [True, 1]]}]}, "heads"]}

    assert (evaluate(rule, {"items": [item]}).variant == "heads") is is_chosen


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=5), st.integers(0, 1000), st.text())
def test_more_weight_at_the_end_moves_subjects_only_towards_the_end(
    weights: list[int], more: int, subject: str
):
    before = Split([*enumerate([*weights[:-1], weights[-1] + 1])])
    after = Split([*enumerate([*weights[:-1], weights[-1] + 1 + more])])

    chosen_before, chosen_after = before.choose(encode(subject)), after.choose(encode(subject))
    assert isinstance(chosen_before, int)
    assert isinstance(chosen_after, int)
    assert chosen_after >= chosen_before
