"""Copies from one environment to another over HTTP."""

import httpx
import pytest
from services.flags.tests.factories import by_rules, condition, definition, targeted

PATH = "/v1/environments/production/promotions"


def defined(flag: str, environment: str = "staging") -> str:
    return f"/v1/flags/{flag}/environments/{environment}"


@pytest.fixture(autouse=True)
async def flags(client: httpx.AsyncClient) -> None:
    for key in ("one", "two"):
        await client.post("/v1/flags", json={"key": key, "type": "boolean"})


async def test_definitions_are_copied_as_they_were_written(client: httpx.AsyncClient):
    await client.post("/v1/segments", json={"key": "beta", "conditions": [condition("a", "equals", 1)]})
    in_beta = {"conditions": [{"operator": "in_segment", "value": "beta"}], "variant": "on"}
    await client.put(defined("one"), json=by_rules(in_beta))
    requires = by_rules({"variant": "on"}, prerequisites=[{"flag": "one", "variants": ["on"]}])
    await client.put(defined("two"), json=requires)
    answer = await client.post(PATH, json={"source": "staging"})
    assert (answer.status_code, answer.json()["applied"]) == (200, True)
    assert [(each["flag"], each["kind"]) for each in answer.json()["changes"]] == [
        ("one", "created"),
        ("two", "created"),
    ]
    assert (await client.get(defined("two", "production"))).json() == requires
    evaluated = await client.post("/ofrep/v1/evaluate/flags/two", json={"context": {"a": 1}})
    assert evaluated.json()["value"] is True
    history = (await client.get("/v1/flags/two/history", params={"environment": "production"})).json()[
        "items"
    ]
    assert history[0]["origin"] == "promotion"


async def test_a_preview_shows_the_difference_and_changes_nothing(client: httpx.AsyncClient):
    await client.put(defined("one", "production"), json=definition())
    await client.put(defined("one"), json=definition(state="DISABLED"))
    preview = await client.post(PATH, json={"source": "staging", "preview": True})
    assert preview.json() == {
        "applied": False,
        "changes": [
            {
                "flag": "one",
                "kind": "updated",
                "diff": [{"op": "replace", "path": "/state", "value": "DISABLED", "was": "ENABLED"}],
            }
        ],
        "evaluators": [],
    }
    assert (await client.get(defined("one", "production"))).json()["state"] == "ENABLED"
    etag = {"If-Match": preview.headers["ETag"]}
    applied = await client.post(PATH, json={"source": "staging"}, headers=etag)
    assert applied.json()["applied"] is True
    refused = await client.post(PATH, json={"source": "staging"}, headers=etag)
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")


async def test_what_is_the_same_is_not_copied(client: httpx.AsyncClient):
    for environment in ("staging", "production"):
        await client.put(defined("one", environment), json=definition())
    answer = await client.post(PATH, json={"source": "staging", "flags": ["one"]})
    assert (answer.json()["applied"], answer.json()["changes"]) == (False, [])


async def test_a_flag_that_the_source_lacks_is_refused(client: httpx.AsyncClient):
    refused = await client.post(PATH, json={"source": "staging", "flags": ["one"]})
    problem = refused.json()["errors"][0]
    assert (refused.status_code, problem["pointer"], problem["code"]) == (
        422,
        "#/flags/0",
        "definition_not_found",
    )


async def test_a_missing_prerequisite_is_refused_with_the_flags_place(client: httpx.AsyncClient):
    await client.put(defined("one"), json=definition())
    requires = by_rules({"variant": "on"}, prerequisites=[{"flag": "one", "variants": ["on"]}])
    await client.put(defined("two"), json=requires)
    refused = await client.post(PATH, json={"source": "staging", "flags": ["two"]})
    problem = refused.json()["errors"][0]
    assert (problem["pointer"], problem["code"]) == (
        "#/flags/0/prerequisites/0/flag",
        "undefined_prerequisite",
    )


async def test_evaluators_of_the_sources_own_come_along(client: httpx.AsyncClient):
    rule = {"if": [{"$ref": "everybody"}, "on", "off"]}
    flags = {"one": targeted(rule)}
    document = {"flags": flags, "$evaluators": {"everybody": {"==": [1, 1]}}}
    await client.put("/v1/environments/staging/flagd", json=document)
    answer = await client.post(PATH, json={"source": "staging"})
    assert answer.json()["evaluators"] == ["everybody"]
    assert (await client.post("/ofrep/v1/evaluate/flags/one", json={})).json()["value"] is True
    other = {"flags": {}, "$evaluators": {"everybody": {"==": [1, 2]}}}
    await client.put("/v1/environments/production/flagd", json=other)
    refused = await client.post(PATH, json={"source": "staging"})
    assert refused.json()["errors"][0]["code"] == "evaluator_differs"


async def test_both_environments_must_exist(client: httpx.AsyncClient):
    for path, source in ((PATH, "nowhere"), ("/v1/environments/nowhere/promotions", "staging")):
        missing = await client.post(path, json={"source": source})
        assert (missing.status_code, missing.json()["code"]) == (404, "environment_not_found")
