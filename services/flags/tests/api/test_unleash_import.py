"""Imports from Unleash over HTTP: what comes, what it means, and what the report says."""

import json
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

PATH = "/v1/import/unleash"
EXPORT = json.loads((Path(__file__).parents[1] / "fixtures" / "unleash-export.json").read_bytes())
PRO = {
    "targetingKey": "zoe",
    "plan": "pro",
    "country": "DE",
    "email": "a@mail.test",
    "age": 30,
    "version": "1.2.3",
    "beta": "yes",
}


@pytest.fixture(autouse=True)
def room_for_flags(app: FastAPI) -> None:
    app.state.settings = app.state.settings.model_copy(update={"max_flags": 100})


async def evaluate(client: httpx.AsyncClient, key: str, **context: object) -> object:
    answer = await client.post(f"/ofrep/v1/evaluate/flags/{key}", json={"context": context})
    return answer.json().get("value")


async def test_features_become_flags_by_rules(client: httpx.AsyncClient):
    report = await client.post(PATH, json=EXPORT)
    assert report.status_code == 200, report.text
    created = ["new-checkout", "limited", "theme", "mixed", "everyone", "child"]
    assert (report.json()["flagsCreated"], report.json()["environment"]) == (created, "production")
    assert report.json()["segments"] == ["beta-users", "beta-users-2"]
    flag = (await client.get("/v1/flags/new-checkout")).json()
    assert (flag["description"], flag["tags"]) == ("The new checkout", ["simple:web-shop", "team:payments"])
    assert (await client.get("/v1/flags/limited")).json()["stale"] == ["expired"]


async def test_strategies_are_alternatives(client: httpx.AsyncClient):
    await client.post(PATH, json=EXPORT)
    assert await evaluate(client, "new-checkout", targetingKey="ann") is True
    assert await evaluate(client, "new-checkout", targetingKey="eve") is False
    assert await evaluate(client, "everyone") is True


async def test_every_constraint_narrows_a_rollout(client: httpx.AsyncClient):
    await client.post(PATH, json=EXPORT)
    users = [f"user-{number}" for number in range(200)]
    reached = [
        user for user in users if await evaluate(client, "new-checkout", **{**PRO, "targetingKey": user})
    ]
    assert 20 <= len(reached) <= 80
    one = {**PRO, "targetingKey": reached[0]}
    wrong = {
        "plan": "free",
        "country": "US",
        "email": "a@example.org",
        "age": 31,
        "version": "1.2.4",
        "beta": "no",
    }
    for name, value in wrong.items():
        assert await evaluate(client, "new-checkout", **{**one, name: value}) is False


async def test_variants_become_typed_values(client: httpx.AsyncClient):
    await client.post(PATH, json=EXPORT)
    theme = (await client.get("/v1/flags/theme")).json()
    assert (theme["type"], theme["variants"]["dark"]) == ("object", {"ink": "white"})
    rules = (await client.get("/v1/flags/theme/environments/production")).json()["rules"]
    assert rules[0]["split"]["bucketBy"] == "sessionId"
    assert await evaluate(client, "mixed") == "one"


async def test_a_disabled_feature_is_disabled(client: httpx.AsyncClient):
    await client.post(PATH, json=EXPORT)
    limited = (await client.get("/v1/flags/limited/environments/production")).json()
    assert limited["state"] == "DISABLED"
    conditions = [rule["conditions"] for rule in limited["rules"]]
    assert conditions[:2] == [
        [{"attribute": "remoteAddress", "operator": "in", "values": ["192.168.1.7"]}],
        [{"attribute": "remoteAddress", "operator": "starts_with", "values": ["10.1."]}],
    ]
    assert [rule.get("rollout") for rule in limited["rules"][2:]] == [
        {"percentage": 10, "bucketBy": "sessionId"},
        None,
        {"percentage": 5},
    ]


async def test_a_parent_becomes_a_prerequisite(client: httpx.AsyncClient):
    await client.post(PATH, json=EXPORT)
    assert await evaluate(client, "child", targetingKey="ann") is True
    assert await evaluate(client, "child", targetingKey="eve") is False


async def test_the_report_names_what_was_left_out(client: httpx.AsyncClient):
    notes = (await client.post(PATH, json=EXPORT)).json()["notes"]
    left_out = {(note["subject"], note["detail"]) for note in notes if not note["converted"]}
    assert left_out >= {
        ("gone", "it is archived"),
        ("not a key", "its name is no key here"),
        ("against", "a parent that must be disabled"),
        ("segment By expression", "the operator REGEX"),
        ("segment Nobody", "it has no constraints"),
        ("mixed", "the strategy default was left out: it has no variants"),
    }
    reasons = [detail.partition(": ")[2] for subject, detail in left_out if subject == "limited"]
    assert set(reasons) == {
        "the percentage 'half'",
        "the network 10.0.0.0/9",
        "the strategy type ourOwn",
        "a comparison that ignores case",
        "the operator REGEX",
        "a constraint IN without values",
        "the number 'many'",
        "an inverted NUM_EQ",
        "the segment 2",
    }
    inexact = {note["detail"] for note in notes if note["converted"]}
    assert any("not the same ones" in detail for detail in inexact)
    assert any("random" in detail for detail in inexact)


async def test_a_preview_imports_nothing(client: httpx.AsyncClient):
    preview = await client.post(PATH, params={"preview": "true"}, json=EXPORT)
    assert (preview.json()["applied"], len(preview.json()["flagsCreated"])) == (False, 6)
    assert (await client.get("/v1/flags")).json()["items"] == []
    assert (await client.get("/v1/segments")).json()["items"] == []


async def test_importing_again_updates(client: httpx.AsyncClient):
    await client.post(PATH, json=EXPORT)
    again = (await client.post(PATH, json=EXPORT)).json()
    assert (again["flagsCreated"], len(again["flagsUpdated"])) == ([], 6)


async def test_what_conflicts_with_a_flag_of_ours_is_noted(client: httpx.AsyncClient):
    await client.post("/v1/flags", json={"key": "everyone", "type": "string"})
    await client.post("/v1/flags", json={"key": "theme", "type": "object"})
    await client.delete("/v1/flags/theme")
    report = (await client.post(PATH, json=EXPORT)).json()
    assert "everyone" not in report["flagsUpdated"]
    notes = {note["subject"]: note["detail"] for note in report["notes"] if not note["converted"]}
    assert notes["theme"] == "there is an archived flag of this key"
    assert "the flag is of type string" in notes["everyone"]


async def test_what_clients_get_can_be_imported_too(client: httpx.AsyncClient):
    features = [
        {"name": "plain", "enabled": True, "strategies": [{"name": "default", "constraints": []}]},
        {"name": "parented", "enabled": True, "dependencies": [{"feature": "plain", "variants": ["on"]}]},
    ]
    export = {"version": 2, "features": features}
    report = await client.post(PATH, params={"environment": "staging", "from": "any"}, json=export)
    assert (report.json()["environment"], report.json()["flagsCreated"]) == ("staging", ["plain", "parented"])


@pytest.mark.parametrize(
    ("export", "params", "pointer"),
    [
        ({}, {}, "#/features"),
        (EXPORT, {"from": "nowhere"}, "#/featureEnvironments"),
        (
            {"features": [], "featureEnvironments": [{"environment": "a"}, {"environment": "b"}]},
            {},
            "#/featureEnvironments",
        ),
    ],
)
async def test_what_cannot_be_read_is_refused(
    client: httpx.AsyncClient, export: object, params: dict[str, str], pointer: str
):
    refused = await client.post(PATH, params=params, json=export)
    assert (refused.status_code, refused.json()["code"]) == (422, "export_unreadable")
    assert refused.json()["errors"][0]["pointer"] == pointer


async def test_the_environment_must_exist(client: httpx.AsyncClient):
    missing = await client.post(PATH, params={"environment": "nowhere"}, json=EXPORT)
    assert (missing.status_code, missing.json()["code"]) == (404, "environment_not_found")
