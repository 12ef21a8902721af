"""The history of flags over HTTP: who changed what, and going back."""

from typing import Any

import httpx
import pytest
from services.flags.tests.factories import by_rules, condition, definition, document

FLAG = "/v1/flags/new-checkout"
DEFINED = f"{FLAG}/environments/production"
ON, OFF = by_rules({"variant": "on"}), by_rules({"variant": "off"})


@pytest.fixture(autouse=True)
async def flag(client: httpx.AsyncClient) -> None:
    await client.post("/v1/flags", json={"key": "new-checkout", "type": "boolean", "owner": "payments"})


async def history(client: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    answer = await client.get(f"{FLAG}/history", params=params)
    assert answer.status_code == 200
    return answer.json()["items"]


async def test_every_change_is_recorded_with_actor_and_difference(client: httpx.AsyncClient):
    await client.patch(FLAG, json={"owner": "checkout"})
    await client.put(DEFINED, json=ON)
    await client.put(DEFINED, json=OFF)
    changes = await history(client)
    assert [(each["kind"], each["environment"]) for each in changes] == [
        ("updated", "production"),
        ("created", "production"),
        ("updated", None),
        ("created", None),
    ]
    assert changes[0]["diff"] == [{"op": "replace", "path": "/rules/0/variant", "value": "off", "was": "on"}]
    assert changes[2]["diff"] == [{"op": "replace", "path": "/owner", "value": "checkout", "was": "payments"}]
    assert {each["actor"] for each in changes} == {"key_01h455vb4pex5vsknk084sn02q"}


async def test_the_history_comes_in_pages_and_by_environment(client: httpx.AsyncClient):
    for environment in ("production", "staging"):
        await client.put(f"{FLAG}/environments/{environment}", json=ON)
    first = (await client.get(f"{FLAG}/history", params={"limit": 2})).json()
    rest = await history(client, cursor=first["nextCursor"])
    assert [each["environment"] for each in first["items"] + rest] == ["staging", "production", None]
    assert [each["environment"] for each in await history(client, environment="staging")] == ["staging"]


async def test_a_change_that_changes_nothing_is_not_recorded(client: httpx.AsyncClient):
    await client.put(DEFINED, json=ON)
    await client.put(DEFINED, json=ON)
    await client.patch(FLAG, json={"owner": "payments"})
    assert len(await history(client)) == 2


async def test_a_definition_is_restored(client: httpx.AsyncClient):
    await client.put(DEFINED, json=ON)
    await client.put(DEFINED, json=OFF)
    revision = (await history(client))[1]["revision"]
    restored = await client.post(f"{FLAG}/history/{revision}/restore")
    assert (restored.status_code, restored.json()["restored"]) == (200, revision)
    assert restored.json()["change"]["origin"] == "restore"
    assert (await client.get(DEFINED)).json() == ON
    answer = await client.post("/ofrep/v1/evaluate/flags/new-checkout", json={})
    assert answer.json()["value"] is True


async def test_restoring_what_is_already_so_changes_nothing(client: httpx.AsyncClient):
    await client.put(DEFINED, json=ON)
    revision = (await history(client))[0]["revision"]
    restored = await client.post(f"{FLAG}/history/{revision}/restore")
    assert restored.json() == {"restored": revision, "change": None}


async def test_a_flag_is_restored_with_its_state(client: httpx.AsyncClient):
    expiry = "2027-01-01T00:00:00Z"
    await client.patch(FLAG, json={"expiresAt": expiry, "tags": ["web"], "owner": None})
    revision = (await history(client))[0]["revision"]
    await client.patch(FLAG, json={"expiresAt": None, "tags": []})
    await client.delete(FLAG)
    restored = await client.post(f"{FLAG}/history/{revision}/restore")
    assert restored.status_code == 200
    flag = (await client.get(FLAG)).json()
    assert (flag["expiresAt"], flag["tags"], flag["owner"], flag["archivedAt"]) == (
        expiry,
        ["web"],
        None,
        None,
    )


async def test_a_restore_is_conditional_on_request(client: httpx.AsyncClient):
    etag = (await client.put(DEFINED, json=ON)).headers["ETag"]
    await client.put(DEFINED, json=OFF)
    revision = (await history(client))[1]["revision"]
    refused = await client.post(f"{FLAG}/history/{revision}/restore", headers={"If-Match": etag})
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")


async def test_an_unknown_revision_is_not_found(client: httpx.AsyncClient):
    missing = await client.post(f"{FLAG}/history/1/restore")
    assert (missing.status_code, missing.json()["code"]) == (404, "revision_not_found")
    assert (await client.get("/v1/flags/nothing/history")).json()["code"] == "flag_not_found"


async def test_what_can_no_longer_be_compiled_cannot_be_restored(client: httpx.AsyncClient):
    await client.post("/v1/segments", json={"key": "beta", "conditions": [condition("a", "equals", 1)]})
    in_beta = {"conditions": [{"operator": "in_segment", "value": "beta"}], "variant": "on"}
    await client.put(DEFINED, json=by_rules(in_beta))
    revision = (await history(client))[0]["revision"]
    await client.put(DEFINED, json=OFF)
    await client.delete("/v1/segments/beta")
    refused = await client.post(f"{FLAG}/history/{revision}/restore")
    assert (refused.status_code, refused.json()["code"]) == (422, "definition_invalid")
    assert refused.json()["errors"][0]["code"] == "unknown_segment"


async def test_a_definition_of_an_archived_flag_is_not_restored(client: httpx.AsyncClient):
    await client.put(DEFINED, json=ON)
    revision = (await history(client))[0]["revision"]
    await client.delete(FLAG)
    refused = await client.post(f"{FLAG}/history/{revision}/restore")
    assert (refused.status_code, refused.json()["code"]) == (409, "flag_archived")


async def test_an_import_is_recorded_flag_by_flag_and_its_removal_restored(client: httpx.AsyncClient):
    path = "/v1/environments/production/flagd"
    await client.put("/v1/flags/new-checkout/environments/staging", json=ON)
    await client.put(path, json=document(new_checkout=definition()))
    await client.put(path, json=document())
    changes = await history(client, environment="production")
    assert [(each["kind"], each["origin"]) for each in changes] == [
        ("removed", "import"),
        ("created", "import"),
    ]
    await client.post(f"{FLAG}/history/{changes[1]['revision']}/restore")
    assert (await client.get(DEFINED)).json() == definition()
    await client.post(f"{FLAG}/history/{changes[0]['revision']}/restore")
    assert (await client.get(DEFINED)).status_code == 404


async def test_a_required_definition_cannot_be_removed_by_a_restore(client: httpx.AsyncClient):
    path = "/v1/environments/production/flagd"
    await client.put("/v1/flags/new-checkout/environments/staging", json=ON)
    await client.put(path, json=document(new_checkout=definition()))
    await client.put(path, json=document())
    removal = (await history(client, environment="production"))[0]["revision"]
    await client.put(DEFINED, json=ON)
    await client.post("/v1/flags", json={"key": "other", "type": "boolean"})
    requires = by_rules({"variant": "on"}, prerequisites=[{"flag": "new-checkout", "variants": ["on"]}])
    await client.put("/v1/flags/other/environments/production", json=requires)
    refused = await client.post(f"{FLAG}/history/{removal}/restore")
    assert (refused.status_code, refused.json()["code"]) == (409, "flag_required")
