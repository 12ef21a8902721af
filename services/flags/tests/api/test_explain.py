"""Explanations over HTTP: why a flag has its value."""

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from services.flags.tests.factories import by_rules, condition, definition
from services.flags.tests.unit import test_rules_against_the_reference as generated

from undercroft.flags.domain.authoring import Surroundings, read_rules
from undercroft.flags.domain.explanation import Asker, trace_rules
from undercroft.flags.domain.flag_set import compile_flag_set
from undercroft.flags.domain.problems import Problems
from undercroft.flags.domain.segments import compile_segments, read_segment

DEFINED = "/v1/flags/new-checkout/environments/production"
PATH = f"{DEFINED}/explain"


@pytest.fixture
async def flag(client: httpx.AsyncClient) -> None:
    await client.post("/v1/flags", json={"key": "new-checkout", "type": "boolean"})


async def explain(client: httpx.AsyncClient, **context: object) -> dict[str, Any]:
    answer = await client.post(PATH, json={"context": context})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.usefixtures("flag")
async def test_each_condition_tells_what_it_found(client: httpx.AsyncClient):
    held = [condition("user.plan", "equals", "pro"), condition("age", "at_least", 18, negate=True)]
    await client.put(DEFINED, json=by_rules({"name": "young pros", "conditions": held, "variant": "on"}))
    explained = await explain(client, user={"plan": "pro"}, age=30)
    assert (explained["value"], explained["decidedBy"], explained["rule"]) == (False, "default", None)
    plan, age = explained["rules"][0]["conditions"]
    assert (plan["actual"], plan["holds"]) == ("pro", True)
    assert (age["actual"], age["negate"], age["holds"]) == (30, True, False)
    young = await explain(client, user={"plan": "pro"}, age=3)
    assert (young["value"], young["decidedBy"], young["rule"]) == (True, "rule", 0)
    assert young["because"] == "Rule 0 (young pros) is the first that applies; it leads to on."


@pytest.mark.usefixtures("flag")
async def test_rules_after_the_deciding_one_are_not_reached(client: httpx.AsyncClient):
    await client.put(DEFINED, json=by_rules({"variant": "on"}, {"variant": "off"}))
    rules = (await explain(client))["rules"]
    assert [(rule["isReached"], rule["applies"]) for rule in rules] == [(True, True), (False, True)]


@pytest.mark.usefixtures("flag")
async def test_buckets_are_shown(client: httpx.AsyncClient):
    split = {"variants": [{"variant": "on", "weight": 0}, {"variant": "off", "weight": 3}]}
    await client.put(DEFINED, json=by_rules({"rollout": {"percentage": 99.99}, "split": split}))
    rule = (await explain(client, targetingKey="user-1"))["rules"][0]
    assert (rule["split"]["hashed"], rule["split"]["total"]) == ("new-checkout:user-1", 3)
    assert (rule["split"]["chosen"], rule["variant"]) == ("off", "off")
    assert (rule["rollout"]["chosen"], rule["rollout"]["hashed"]) == (
        "in 99.99 %",
        "new-checkout/rollout:user-1",
    )
    nobody = (await explain(client))["rules"][0]
    assert (nobody["applies"], nobody["split"]["hashed"], nobody["rollout"]["bucket"]) == (False, None, None)


@pytest.mark.usefixtures("flag")
async def test_segments_show_their_own_conditions(client: httpx.AsyncClient):
    await client.post(
        "/v1/segments", json={"key": "beta", "conditions": [condition("beta", "equals", "yes")]}
    )
    in_beta = {"conditions": [{"operator": "in_segment", "value": "beta"}], "variant": "on"}
    await client.put(DEFINED, json=by_rules(in_beta))
    shown = (await explain(client, beta="no"))["rules"][0]["conditions"][0]
    assert (shown["holds"], shown["conditions"][0]["actual"]) == (False, "no")


@pytest.mark.usefixtures("flag")
async def test_an_unmet_prerequisite_decides(client: httpx.AsyncClient):
    await client.post("/v1/flags", json={"key": "new-api", "type": "boolean"})
    await client.put("/v1/flags/new-api/environments/production", json=definition(defaultVariant="off"))
    requires = [{"flag": "new-api", "variants": ["on"]}]
    await client.put(DEFINED, json=by_rules({"variant": "on"}, prerequisites=requires, unmetVariant="off"))
    explained = await explain(client)
    assert (explained["decidedBy"], explained["variant"], explained["reason"]) == (
        "prerequisites",
        "off",
        "TARGETING_MATCH",
    )
    assert explained["prerequisites"] == [
        {"flag": "new-api", "wanted": ["on"], "variant": "off", "holds": False}
    ]
    assert explained["rules"][0]["isReached"] is False


@pytest.mark.usefixtures("flag")
async def test_a_disabled_flag_is_decided_by_its_state(client: httpx.AsyncClient):
    await client.put(DEFINED, json=by_rules({"variant": "on"}, state="DISABLED"))
    explained = await explain(client)
    assert (explained["decidedBy"], explained["reason"], explained["variant"]) == ("state", "DISABLED", None)


@pytest.mark.usefixtures("flag")
async def test_the_time_can_be_chosen(client: httpx.AsyncClient):
    later = {"conditions": [{"operator": "after", "value": "2030-01-01T00:00:00Z"}], "variant": "on"}
    await client.put(DEFINED, json=by_rules(later))
    then = await client.post(PATH, json={"at": "2030-01-02T00:00:00Z"})
    assert ((await explain(client))["variant"], then.json()["variant"]) == ("off", "on")


@pytest.mark.usefixtures("flag")
async def test_json_logic_is_traced_as_far_as_it_was_reached(client: httpx.AsyncClient):
    targeting = {
        "if": [
            {"or": [{"==": [{"var": "a"}, 1]}, {"==": [{"var": "b"}, 1]}]},
            "on",
            {"some": [{"var": "list"}, {"==": [{"var": ""}, 1]}]},
            {"if": [True, "off"]},
        ]
    }
    await client.put(DEFINED, json=definition(targeting=targeting))
    explained = await explain(client, a=1)
    assert (explained["decidedBy"], explained["variant"]) == ("targeting", "on")
    pointers = {each["pointer"]: each["result"] for each in explained["targeting"]}
    assert pointers["/targeting/if/0/or/0"] is True
    assert "/targeting/if/0/or/1" not in pointers
    other = await explain(client, list=[1])
    assert other["targeting"][-1] == {
        "pointer": "/targeting/if/3",
        "operator": "if",
        "result": "off",
        "error": None,
    }


@pytest.mark.usefixtures("flag")
async def test_an_error_is_explained_too(client: httpx.AsyncClient):
    broken = definition(targeting={"if": [{"$ref": "nobody"}, "on"]})
    await client.put("/v1/environments/production/flagd", json={"flags": {"new-checkout": broken}})
    explained = await explain(client)
    assert (explained["decidedBy"], explained["errorCode"]) == ("error", "PARSE_ERROR")
    assert explained["because"] == explained["errorDetails"]
    assert [each["error"] is not None for each in explained["targeting"]] == [True, True]


@pytest.mark.usefixtures("flag")
async def test_what_is_not_defined_cannot_be_explained(client: httpx.AsyncClient):
    missing = await client.post(PATH, json={})
    assert (missing.status_code, missing.json()["code"]) == (404, "definition_not_found")


@pytest.mark.usefixtures("flag")
async def test_long_targeting_is_traced_up_to_a_limit(client: httpx.AsyncClient):
    many = [{"==": [{"var": "a"}, number]} for number in range(1, 301)]
    await client.put(DEFINED, json=definition(targeting={"if": [{"or": many}, "on"]}))
    assert len((await explain(client))["targeting"]) == 200


@given(
    rules=st.lists(generated.rules, min_size=1, max_size=3),
    one=generated.segment_conditions,
    context=generated.contexts,
)
@settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_an_explanation_agrees_with_the_evaluation(
    rules: list[object], one: list[object], context: dict[str, object]
) -> None:
    definitions = {"one": {"conditions": one}, "two": {"conditions": one}}
    source = {"state": "ENABLED", "variants": generated.VARIANTS, "defaultVariant": "c", "rules": rules}
    document = generated.compiled(source, {"one": one, "two": one})
    evaluation = compile_flag_set(document).evaluate("flag", context, now=generated.NOW)

    around = Surroundings(evaluators={}, segments=compile_segments(definitions), flags={})
    read, _ = read_rules("flag", source, around, Problems())
    segments = {key: read_segment(each, definitions, Problems()) for key, each in definitions.items()}
    asker = Asker("flag", document["$evaluators"], context, now=generated.NOW)
    traces = trace_rules("flag", read.rules, segments, asker, is_reached=True)

    deciding = next((trace for trace in traces if trace.is_reached and trace.applies), None)
    assert evaluation.variant == ("c" if deciding is None else deciding.variant)
    for trace in traces:
        is_held = all(each.holds for each in trace.conditions)
        is_split = trace.split is None or trace.split.bucket is not None
        is_in = trace.rollout is None or str(trace.rollout.chosen).startswith("in ")
        assert trace.applies == (is_held and is_split and is_in)
