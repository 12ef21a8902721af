"""Segments over HTTP: conditions under a name, in effect everywhere at once."""

import httpx
import pytest
from fastapi import FastAPI
from services.flags.tests.factories import by_rules, condition, definition
from sqlalchemy import select

from undercroft.flags.models import outbox
from undercroft.shared.db import Database

PATH = "/v1/segments"
BETA = {"key": "beta", "conditions": [condition("beta", "equals", "yes")]}
IN_BETA = {"conditions": [{"operator": "in_segment", "value": "beta"}], "variant": "on"}
FLAG = "/v1/flags/new-checkout/environments"


@pytest.fixture(autouse=True)
async def flag(client: httpx.AsyncClient) -> None:
    await client.post("/v1/flags", json={"key": "new-checkout", "type": "boolean"})


async def is_on(client: httpx.AsyncClient, environment: str = "production", **context: object) -> bool:
    answer = await client.post(
        "/ofrep/v1/evaluate/flags/new-checkout",
        params={"environment": environment},
        json={"context": context},
    )
    return answer.json()["value"]


async def test_a_segment_can_be_read_back(client: httpx.AsyncClient):
    created = await client.post(PATH, json={**BETA, "name": "Beta users", "description": "Early"})
    assert (created.status_code, created.headers["Location"]) == (201, "/v1/segments/beta")
    found = await client.get(f"{PATH}/beta")
    assert (found.json(), found.headers["ETag"]) == (created.json(), created.headers["ETag"])
    assert [each["key"] for each in (await client.get(PATH)).json()["items"]] == ["beta"]


async def test_a_taken_key_is_a_conflict(client: httpx.AsyncClient):
    await client.post(PATH, json=BETA)
    again = await client.post(PATH, json=BETA)
    assert (again.status_code, again.json()["code"]) == (409, "segment_exists")


async def test_the_number_of_segments_is_bounded(client: httpx.AsyncClient, app: FastAPI):
    app.state.settings = app.state.settings.model_copy(update={"max_segments": 1})
    await client.post(PATH, json=BETA)
    refused = await client.post(PATH, json={**BETA, "key": "other"})
    assert (refused.status_code, refused.json()["code"]) == (409, "segment_limit_reached")


@pytest.mark.parametrize(
    ("conditions", "pointer", "code"),
    [
        ([5], "#/conditions/0", "wrong_type"),
        ([{"attribute": "a", "operator": "nope", "value": 1}], "#/conditions/0/operator", "unknown_operator"),
        ([{"operator": "in_segment", "value": "other"}], "#/conditions/0/value", "unknown_segment"),
        ([{"operator": "in_segment", "value": "beta"}], "#/conditions", "segment_cycle"),
        (
            [{"attribute": "a", "operator": "contains", "values": [f"v{number}" for number in range(2_100)]}],
            "#/conditions",
            "rule_too_large",
        ),
    ],
)
async def test_wrong_conditions_are_refused_with_the_place(
    client: httpx.AsyncClient, conditions: list[object], pointer: str, code: str
):
    refused = await client.post(PATH, json={"key": "beta", "conditions": conditions})
    problem = refused.json()["errors"][0]
    assert (refused.status_code, problem["pointer"], problem["code"]) == (422, pointer, code)


async def test_a_segment_has_conditions(client: httpx.AsyncClient):
    refused = await client.post(PATH, json={"key": "beta", "conditions": []})
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")


async def test_a_changed_segment_takes_effect_in_every_environment(client: httpx.AsyncClient):
    await client.post(PATH, json=BETA)
    for environment in ("production", "staging"):
        await client.put(f"{FLAG}/{environment}", json=by_rules(IN_BETA))
    assert (await is_on(client, beta="yes"), await is_on(client, "staging", beta="1")) == (True, False)
    changed = {"conditions": [condition("beta", "equals", "1")]}
    assert (await client.patch(f"{PATH}/beta", json=changed)).status_code == 200
    assert (await is_on(client, beta="yes"), await is_on(client, "staging", beta="1")) == (False, True)


async def test_a_segment_may_build_on_another(client: httpx.AsyncClient):
    await client.post(PATH, json={"key": "staff", "conditions": [condition("mail", "ends_with", "@us")]})
    inner = [{"operator": "in_segment", "value": "staff", "negate": True}]
    await client.post(PATH, json={"key": "beta", "conditions": inner})
    await client.put(f"{FLAG}/production", json=by_rules(IN_BETA))
    assert (await is_on(client, mail="me@us"), await is_on(client, mail="you@them")) == (False, True)
    await client.patch(f"{PATH}/staff", json={"conditions": [condition("mail", "ends_with", "@them")]})
    assert (await is_on(client, mail="me@us"), await is_on(client, mail="you@them")) == (True, False)


async def test_a_change_that_changes_nothing_keeps_the_etag(client: httpx.AsyncClient):
    created = await client.post(PATH, json=BETA)
    same = await client.patch(f"{PATH}/beta", json={"name": "beta", "conditions": BETA["conditions"]})
    assert same.headers["ETag"] == created.headers["ETag"]


async def test_a_change_based_on_an_old_state_is_refused(client: httpx.AsyncClient):
    old = {"If-Match": (await client.post(PATH, json=BETA)).headers["ETag"]}
    assert (await client.patch(f"{PATH}/beta", json={"name": "B"}, headers=old)).status_code == 200
    for method, body in (("PATCH", {"name": "C"}), ("DELETE", None)):
        refused = await client.request(method, f"{PATH}/beta", json=body, headers=old)
        assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")


async def test_who_uses_a_segment_is_told_and_it_cannot_be_deleted(client: httpx.AsyncClient):
    await client.post(PATH, json=BETA)
    await client.post(
        PATH, json={"key": "outer", "conditions": [{"operator": "in_segment", "value": "beta"}]}
    )
    await client.put(f"{FLAG}/production", json=by_rules(IN_BETA))
    await client.put(f"{FLAG}/staging", json=definition(targeting={"if": [{"$ref": "segment:beta"}, "on"]}))
    uses = (await client.get(f"{PATH}/beta/uses")).json()
    assert uses["segments"] == ["outer"]
    assert [each["environment"] for each in uses["flags"]] == ["production", "staging"]
    refused = await client.delete(f"{PATH}/beta")
    assert (refused.status_code, refused.json()["code"]) == (409, "segment_in_use")


async def test_an_unused_segment_leaves_every_environment(client: httpx.AsyncClient):
    await client.post(PATH, json=BETA)
    await client.put(f"{FLAG}/production", json=by_rules(IN_BETA))
    await client.put(f"{FLAG}/production", json=by_rules())
    assert (await client.delete(f"{PATH}/beta")).status_code == 204
    document = (await client.get("/v1/environments/production/flagd")).json()
    assert document["$evaluators"] == {}


async def test_an_unknown_segment_is_not_found(client: httpx.AsyncClient):
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("GET", "/uses", None),
        ("GET", "/history", None),
    ):
        missing = await client.request(method, f"{PATH}/nothing{path}", json=body)
        assert (missing.status_code, missing.json()["code"]) == (404, "segment_not_found")


async def test_a_segment_too_large_for_a_flag_is_refused(client: httpx.AsyncClient):
    await client.post(PATH, json=BETA)
    many = {"conditions": [{"operator": "in_segment", "values": ["beta"] * 5}], "variant": "on"}
    await client.put(f"{FLAG}/production", json=by_rules(many))
    values = [f"v{number}" for number in range(500)]
    large = {"conditions": [{"attribute": "a", "operator": "contains", "values": values}]}
    refused = await client.patch(f"{PATH}/beta", json=large)
    problem = refused.json()["errors"][0]
    assert (refused.status_code, problem["code"]) == (422, "rule_too_large")
    assert "new-checkout in production" in problem["detail"]


async def test_a_document_cannot_change_a_segment(client: httpx.AsyncClient):
    await client.post(PATH, json=BETA)
    await client.put(f"{FLAG}/production", json=by_rules(IN_BETA))
    document = (await client.get("/v1/environments/production/flagd")).json()
    document["$evaluators"]["segment:beta"] = {"==": [1, 1]}
    refused = await client.put("/v1/environments/production/flagd", json=document)
    problem = refused.json()["errors"][0]
    assert (problem["pointer"], problem["code"]) == ("#/$evaluators/segment:beta", "segment_differs")


async def test_a_document_without_a_segments_evaluator_detaches_its_flags(client: httpx.AsyncClient):
    await client.post(PATH, json=BETA)
    await client.put(f"{FLAG}/production", json=by_rules(IN_BETA))
    document = (await client.get("/v1/environments/production/flagd")).json()
    del document["$evaluators"]
    await client.put("/v1/environments/production/flagd", json=document)
    assert "targeting" in (await client.get(f"{FLAG}/production")).json()


async def test_an_evaluator_of_the_same_name_that_says_something_else_is_a_conflict(
    client: httpx.AsyncClient,
):
    document = {"flags": {}, "$evaluators": {"segment:beta": {"==": [1, 1]}}}
    await client.put("/v1/environments/staging/flagd", json=document)
    refused = await client.post(PATH, json=BETA)
    assert (refused.status_code, refused.json()["code"]) == (409, "evaluator_exists")


async def test_every_change_is_told_and_recorded(client: httpx.AsyncClient, database: Database):
    await client.post(PATH, json=BETA)
    await client.patch(f"{PATH}/beta", json={"name": "Beta"})
    await client.delete(f"{PATH}/beta")
    async with database.session() as session:
        types = (await session.scalars(select(outbox.c.type).order_by(outbox.c.sequence))).all()
    assert [name.rpartition(".")[2] for name in types if ".segment." in name] == [
        "created",
        "updated",
        "deleted",
    ]
    history = (await client.get(f"{PATH}/beta/history")).json()["items"]
    assert [change["kind"] for change in history] == ["removed", "updated", "created"]
    assert history[1]["diff"] == [{"op": "replace", "path": "/name", "value": "Beta", "was": "beta"}]


async def test_a_segment_is_restored_even_after_it_was_deleted(client: httpx.AsyncClient):
    await client.post(PATH, json=BETA)
    await client.patch(f"{PATH}/beta", json={"conditions": [condition("x", "equals", 1)]})
    first = (await client.get(f"{PATH}/beta/history")).json()["items"][-1]["revision"]
    restored = await client.post(f"{PATH}/beta/history/{first}/restore")
    assert (restored.status_code, restored.json()["change"]["origin"]) == (200, "restore")
    assert (await client.get(f"{PATH}/beta")).json()["conditions"] == BETA["conditions"]
    await client.delete(f"{PATH}/beta")
    await client.post(f"{PATH}/beta/history/{first}/restore")
    assert (await client.get(f"{PATH}/beta")).json()["conditions"] == BETA["conditions"]
