"""Definitions by rules over HTTP: what is accepted, what it evaluates to, what is refused where."""

import httpx
import pytest
from services.flags.tests.factories import by_rules, condition, definition

PATH = "/v1/flags/new-checkout/environments/production"
OTHER = "/v1/flags/new-api/environments/production"
EVERYONE = {"variant": "on"}


@pytest.fixture(autouse=True)
async def flags(client: httpx.AsyncClient) -> None:
    for key in ("new-checkout", "new-api"):
        await client.post("/v1/flags", json={"key": key, "type": "boolean"})


async def evaluate(
    client: httpx.AsyncClient, key: str = "new-checkout", **context: object
) -> tuple[object, str]:
    answer = (await client.post(f"/ofrep/v1/evaluate/flags/{key}", json={"context": context})).json()
    return answer["value"], answer["reason"]


async def test_a_rule_applies_when_all_its_conditions_hold(client: httpx.AsyncClient):
    held = [condition("user.plan", "equals", "pro"), condition("age", "at_least", 18)]
    stored = await client.put(PATH, json=by_rules({"conditions": held, "variant": "on"}))
    assert stored.status_code == 200
    assert await evaluate(client, user={"plan": "pro"}, age=18) == (True, "TARGETING_MATCH")
    assert await evaluate(client, user={"plan": "pro"}) == (False, "DEFAULT")


async def test_a_definition_by_rules_reads_back_as_it_was_written(client: httpx.AsyncClient):
    source = by_rules({"name": "everyone", "variant": "on"}, metadata={"n": 1.0})
    stored = await client.put(PATH, json=source)
    found = await client.get(PATH)
    assert found.text == stored.text
    assert (found.json(), '"n":1.0' in found.text) == (source, True)


async def test_the_same_rules_again_keep_the_etag(client: httpx.AsyncClient):
    first = await client.put(PATH, json=by_rules(EVERYONE))
    assert (await client.put(PATH, json=by_rules(EVERYONE))).headers["ETag"] == first.headers["ETag"]


async def test_the_export_holds_compiled_targeting(client: httpx.AsyncClient):
    await client.put(PATH, json=by_rules({"conditions": [condition("a", "equals", 1)], "variant": "on"}))
    exported = (await client.get("/v1/environments/production/flagd")).json()["flags"]["new-checkout"]
    assert exported["targeting"] == {"if": [{"===": [{"var": "a"}, 1]}, "on"]}
    assert "rules" not in exported


async def test_importing_an_export_keeps_rules_and_segments(client: httpx.AsyncClient):
    await client.post(
        "/v1/segments", json={"key": "beta", "conditions": [condition("beta", "equals", "yes")]}
    )
    source = by_rules({"conditions": [{"operator": "in_segment", "value": "beta"}], "variant": "on"})
    await client.put(PATH, json=source)
    required = by_rules(EVERYONE, prerequisites=[{"flag": "new-checkout", "variants": ["on"]}])
    await client.put(OTHER, json=required)
    exported = await client.get("/v1/environments/production/flagd")
    headers = {"Content-Type": "application/json"}
    again = await client.put("/v1/environments/production/flagd", content=exported.content, headers=headers)
    assert again.json() == {"created": 0, "updated": 0, "archived": 0}
    assert (await client.get("/v1/environments/production/flagd")).content == exported.content
    assert (await client.get(PATH)).json() == source
    assert (await client.get(OTHER)).json() == required


async def test_a_document_that_changes_a_prerequisite_detaches_whoever_requires_it(client: httpx.AsyncClient):
    await client.put(PATH, json=by_rules(EVERYONE))
    await client.put(
        OTHER, json=by_rules(EVERYONE, prerequisites=[{"flag": "new-checkout", "variants": ["on"]}])
    )
    document = (await client.get("/v1/environments/production/flagd")).json()
    document["flags"]["new-checkout"] = definition(defaultVariant="off")
    await client.put("/v1/environments/production/flagd", json=document)
    assert "targeting" in (await client.get(OTHER)).json()
    assert (await client.get("/v1/environments/production/flagd")).json() == document


async def test_a_definition_without_rules_may_say_so(client: httpx.AsyncClient):
    await client.put(PATH, json=by_rules())
    assert await evaluate(client) == (False, "STATIC")


async def test_a_prerequisite_that_does_not_hold_gives_the_unmet_variant(client: httpx.AsyncClient):
    await client.put(OTHER, json=by_rules({"conditions": [condition("a", "equals", 1)], "variant": "on"}))
    requires = [{"flag": "new-api", "variants": ["on"]}]
    await client.put(PATH, json=by_rules(EVERYONE, prerequisites=requires))
    assert await evaluate(client, a=1) == (True, "TARGETING_MATCH")
    assert await evaluate(client, a=2) == (False, "DEFAULT")
    await client.put(PATH, json=by_rules(EVERYONE, prerequisites=requires, unmetVariant="off"))
    assert await evaluate(client, a=2) == (False, "TARGETING_MATCH")


async def test_a_changed_prerequisite_changes_whoever_requires_it(client: httpx.AsyncClient):
    await client.put(OTHER, json=definition(defaultVariant="on"))
    await client.put(PATH, json=by_rules(EVERYONE, prerequisites=[{"flag": "new-api", "variants": ["on"]}]))
    assert await evaluate(client) == (True, "TARGETING_MATCH")
    await client.put(OTHER, json=definition(defaultVariant="off"))
    assert await evaluate(client) == (False, "DEFAULT")
    await client.put(OTHER, json=definition(state="DISABLED"))
    assert await evaluate(client) == (False, "DEFAULT")


async def test_a_required_flag_cannot_be_archived(client: httpx.AsyncClient):
    await client.put(OTHER, json=definition())
    await client.put(PATH, json=by_rules(EVERYONE, prerequisites=[{"flag": "new-api", "variants": ["on"]}]))
    refused = await client.delete("/v1/flags/new-api")
    assert (refused.status_code, refused.json()["code"]) == (409, "flag_required")
    assert "new-checkout in production" in refused.json()["detail"]


async def test_a_flag_comes_back_as_its_prerequisite_is_now(client: httpx.AsyncClient):
    await client.put(OTHER, json=definition())
    await client.put(PATH, json=by_rules(EVERYONE, prerequisites=[{"flag": "new-api", "variants": ["on"]}]))
    await client.delete("/v1/flags/new-checkout")
    await client.put(OTHER, json=definition(defaultVariant="off"))
    await client.patch("/v1/flags/new-checkout", json={"archived": False})
    assert await evaluate(client) == (False, "DEFAULT")


async def test_a_flag_whose_prerequisite_is_gone_cannot_come_back(client: httpx.AsyncClient):
    await client.put(OTHER, json=definition())
    await client.put(PATH, json=by_rules(EVERYONE, prerequisites=[{"flag": "new-api", "variants": ["on"]}]))
    await client.delete("/v1/flags/new-checkout")
    await client.delete("/v1/flags/new-api")
    refused = await client.patch("/v1/flags/new-checkout", json={"archived": False})
    assert (refused.status_code, refused.json()["code"]) == (409, "prerequisite_missing")


async def test_flags_cannot_require_one_another(client: httpx.AsyncClient):
    await client.put(OTHER, json=definition())
    await client.put(PATH, json=by_rules(EVERYONE, prerequisites=[{"flag": "new-api", "variants": ["on"]}]))
    back = [{"flag": "new-checkout", "variants": ["on"]}]
    refused = await client.put(OTHER, json=by_rules(EVERYONE, prerequisites=back))
    problem = refused.json()["errors"][0]
    assert (refused.status_code, problem["pointer"], problem["code"]) == (
        422,
        "#/prerequisites",
        "prerequisite_cycle",
    )


async def test_a_change_that_would_break_a_dependent_flag_is_refused(client: httpx.AsyncClient):
    await client.put(OTHER, json=definition())
    await client.put(PATH, json=by_rules(EVERYONE, prerequisites=[{"flag": "new-api", "variants": ["on"]}]))
    refused = await client.put(OTHER, json=definition(variants={"yes": True}, defaultVariant="yes"))
    problem = refused.json()["errors"][0]
    assert (refused.status_code, problem["code"]) == (422, "unknown_variant")
    assert "new-checkout" in problem["detail"]


@pytest.mark.parametrize(
    ("prerequisite", "pointer", "code"),
    [
        ({"flag": "nothing", "variants": ["on"]}, "/flag", "unknown_prerequisite"),
        ({"flag": "gone", "variants": ["on"]}, "/flag", "archived_prerequisite"),
        ({"flag": "undefined", "variants": ["on"]}, "/flag", "undefined_prerequisite"),
        ({"flag": "new-checkout", "variants": ["on"]}, "", "prerequisite_cycle"),
        ({"flag": "new-api", "variants": ["on", "maybe"]}, "/variants/1", "unknown_variant"),
        ({"flag": "new-api", "variants": []}, "/variants", "wrong_type"),
        ({"flag": "new-api", "variants": [1]}, "/variants/0", "wrong_type"),
        ({"flag": 1, "variants": ["on"]}, "/flag", "wrong_type"),
        ({"flag": "splits", "variants": ["on"]}, "/flag", "unusable_prerequisite"),
    ],
)
async def test_a_wrong_prerequisite_is_refused_with_the_place(
    client: httpx.AsyncClient, prerequisite: dict[str, object], pointer: str, code: str
):
    for key in ("gone", "undefined", "splits"):
        await client.post("/v1/flags", json={"key": key, "type": "boolean"})
    await client.delete("/v1/flags/gone")
    await client.put(OTHER, json=definition())
    split = definition(targeting={"fractional": [["on", 1], ["off", 1]]})
    await client.put("/v1/flags/splits/environments/production", json=split)
    refused = await client.put(PATH, json=by_rules(EVERYONE, prerequisites=[prerequisite]))
    assert (refused.status_code, refused.json()["code"]) == (422, "definition_invalid")
    at = f"#/prerequisites/0{pointer}" if pointer else "#/prerequisites"
    assert (at, code) in [(each["pointer"], each["code"]) for each in refused.json()["errors"]]


@pytest.mark.parametrize(
    ("rule", "pointer", "code"),
    [
        (5, "", "wrong_type"),
        ({}, "", "missing_result"),
        ({"variant": "on", "split": {}}, "", "missing_result"),
        ({"variant": "maybe"}, "/variant", "unknown_variant"),
        ({"variant": 1}, "/variant", "wrong_type"),
        ({"variant": "on", "what/ever": 1}, "/what~1ever", "unknown_member"),
        ({"variant": "on", "name": ""}, "/name", "invalid_name"),
        ({"variant": "on", "conditions": {}}, "/conditions", "wrong_type"),
        ({"variant": "on", "rollout": 5}, "/rollout", "wrong_type"),
        ({"variant": "on", "rollout": {"percentage": 101}}, "/rollout/percentage", "invalid_percentage"),
        ({"variant": "on", "rollout": {"percentage": 0.001}}, "/rollout/percentage", "invalid_percentage"),
        ({"variant": "on", "rollout": {"percentage": True}}, "/rollout/percentage", "invalid_percentage"),
        ({"variant": "on", "rollout": {"percentage": 1, "seed": ""}}, "/rollout/seed", "wrong_type"),
        (
            {"variant": "on", "rollout": {"percentage": 1, "bucketBy": ""}},
            "/rollout/bucketBy",
            "invalid_attribute",
        ),
        ({"split": 5}, "/split", "wrong_type"),
        ({"split": {"variants": []}}, "/split/variants", "invalid_weight"),
        (
            {"split": {"variants": [{"variant": "on", "weight": -1}]}},
            "/split/variants/0/weight",
            "invalid_weight",
        ),
        (
            {"split": {"variants": [{"variant": "x", "weight": 1}]}},
            "/split/variants/0/variant",
            "unknown_variant",
        ),
    ],
)
async def test_a_wrong_rule_is_refused_with_the_place(
    client: httpx.AsyncClient, rule: object, pointer: str, code: str
):
    refused = await client.put(PATH, json=by_rules(EVERYONE, rule))
    assert (refused.status_code, refused.json()["code"]) == (422, "definition_invalid")
    assert (f"#/rules/1{pointer}", code) in [
        (each["pointer"], each["code"]) for each in refused.json()["errors"]
    ]
    assert (await client.get(PATH)).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "pointer", "code"),
    [
        ({"operator": "matches"}, "/operator", "unknown_operator"),
        ({"operator": []}, "/operator", "unknown_operator"),
        ({"negate": 1}, "/negate", "wrong_type"),
        ({"attribute": ""}, "/attribute", "invalid_attribute"),
        ({"attribute": "$flagd.flagKey"}, "/attribute", "invalid_attribute"),
        ({"values": ["x"]}, "", "missing_value"),
        ({"value": None}, "/value", "wrong_type"),
        ({"value": ["x"]}, "/value", "wrong_type"),
        ({"operator": "at_least", "value": "5"}, "/value", "wrong_type"),
        ({"operator": "starts_with", "value": ""}, "/value", "wrong_type"),
        ({"operator": "version_equals", "value": "x"}, "/value", "invalid_version"),
        ({"operator": "before", "value": "tomorrow"}, "/value", "invalid_time"),
        ({"operator": "before", "value": "2026-01-01T00:00:00"}, "/value", "invalid_time"),
        ({"operator": "before", "value": 1e300}, "/value", "invalid_time"),
        ({"operator": "in_segment", "value": "x"}, "/value", "unknown_segment"),
        ({"operator": "exists"}, "", "unknown_member"),
    ],
)
async def test_a_wrong_condition_is_refused_with_the_place(
    client: httpx.AsyncClient, wrong: dict[str, object], pointer: str, code: str
):
    held = {**condition("plan", "equals", "pro"), **wrong}
    refused = await client.put(PATH, json=by_rules({"conditions": [held], "variant": "on"}))
    assert (refused.status_code, refused.json()["code"]) == (422, "definition_invalid")
    at = f"#/rules/0/conditions/0{pointer}"
    assert (at, code) in [(each["pointer"], each["code"]) for each in refused.json()["errors"]]


@pytest.mark.parametrize("values", [[], "x", [None], list(range(10_001))])
async def test_a_wrong_list_of_values_is_refused(client: httpx.AsyncClient, values: object):
    held = {"attribute": "a", "operator": "in", "values": values}
    refused = await client.put(PATH, json=by_rules({"conditions": [held], "variant": "on"}))
    assert refused.json()["errors"][0]["pointer"].startswith("#/rules/0/conditions/0/values")


async def test_a_segment_condition_has_no_attribute(client: httpx.AsyncClient):
    held = {"attribute": "a", "operator": "in_segment", "values": ["x"]}
    refused = await client.put(PATH, json=by_rules({"conditions": [held], "variant": "on"}))
    pointers = [each["pointer"] for each in refused.json()["errors"]]
    assert pointers == ["#/rules/0/conditions/0/values/0", "#/rules/0/conditions/0/attribute"]


async def test_two_rules_cannot_have_one_name(client: httpx.AsyncClient):
    twins = [{"name": "a", "variant": "on"}, {"name": "a", "variant": "off"}]
    refused = await client.put(PATH, json=by_rules(*twins))
    assert refused.json()["errors"][0]["code"] == "duplicate_name"


async def test_rules_that_ask_for_too_much_work_are_refused(client: httpx.AsyncClient):
    prefixes = [f"p{number}" for number in range(2_100)]
    held = {"attribute": "a", "operator": "starts_with", "values": prefixes}
    refused = await client.put(PATH, json=by_rules({"conditions": [held], "variant": "on"}))
    problem = refused.json()["errors"][0]
    assert (refused.status_code, problem["pointer"], problem["code"]) == (422, "#/rules", "rule_too_large")


async def test_an_unmet_variant_must_exist(client: httpx.AsyncClient):
    refused = await client.put(PATH, json=by_rules(EVERYONE, unmetVariant="maybe"))
    assert refused.json()["errors"][0]["pointer"] == "#/unmetVariant"


async def test_too_many_rules_are_refused(client: httpx.AsyncClient):
    refused = await client.put(PATH, json=by_rules(*[EVERYONE] * 201))
    assert refused.json()["errors"][0]["pointer"] == "#/rules"
