"""Several changes at once over HTTP: all of them, or none."""

import httpx
import pytest
from services.flags.tests.factories import by_rules, definition

PATH = "/v1/flags/bulk"


def change(flag: str, state: str = "DISABLED", environment: str = "production", **members: object) -> object:
    return {"flag": flag, "environment": environment, "state": state, **members}


def defined(flag: str, environment: str = "production") -> str:
    return f"/v1/flags/{flag}/environments/{environment}"


@pytest.fixture(autouse=True)
async def flags(client: httpx.AsyncClient) -> None:
    for key in ("one", "two"):
        await client.post("/v1/flags", json={"key": key, "type": "boolean"})
        await client.put(defined(key), json=definition())


async def test_states_change_together(client: httpx.AsyncClient):
    await client.put(defined("one", "staging"), json=by_rules({"variant": "on"}))
    changes = [change("one"), change("two"), change("one", environment="staging")]
    answer = await client.post(PATH, json={"changes": changes})
    assert answer.status_code == 200
    first = await client.get(defined("one"))
    assert (first.json()["state"], first.headers["ETag"]) == ("DISABLED", answer.json()["changes"][0]["etag"])
    assert (await client.get(defined("one", "staging"))).json()["rules"] == [{"variant": "on"}]
    evaluated = await client.post("/ofrep/v1/evaluate/flags", json={})
    assert [flag["reason"] for flag in evaluated.json()["flags"]] == ["DISABLED", "DISABLED"]
    history = (await client.get("/v1/flags/one/history")).json()["items"]
    assert (history[0]["origin"], history[0]["diff"][0]["path"]) == ("bulk", "/state")


async def test_every_obstacle_is_named_and_nothing_changes(client: httpx.AsyncClient):
    await client.post("/v1/flags", json={"key": "gone", "type": "boolean"})
    await client.delete("/v1/flags/gone")
    changes = [
        change("one"),
        change("nothing"),
        change("one", environment="nowhere"),
        change("gone"),
        change("one", environment="staging"),
        change("two", ifMatch='"0"'),
        change("one"),
    ]
    refused = await client.post(PATH, json={"changes": changes})
    assert (refused.status_code, refused.json()["code"]) == (422, "bulk_change_refused")
    assert [(each["pointer"], each["code"]) for each in refused.json()["errors"]] == [
        ("#/changes/1", "flag_not_found"),
        ("#/changes/2", "environment_not_found"),
        ("#/changes/3", "flag_archived"),
        ("#/changes/4", "definition_not_found"),
        ("#/changes/5", "precondition_failed"),
        ("#/changes/6", "duplicate_change"),
    ]
    assert (await client.get(defined("one"))).json()["state"] == "ENABLED"


async def test_a_change_may_name_the_state_it_is_based_on(client: httpx.AsyncClient):
    etag = (await client.get(defined("one"))).headers["ETag"]
    answer = await client.post(PATH, json={"changes": [change("one", ifMatch=etag)]})
    assert answer.status_code == 200


async def test_nothing_at_all_is_refused(client: httpx.AsyncClient):
    refused = await client.post(PATH, json={"changes": []})
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
