"""Environments over HTTP."""

import httpx
import pytest
from services.flags.tests.factories import definition, document
from sqlalchemy import select

from undercroft.flags.models import outbox
from undercroft.shared.db import Database

PATH = "/v1/environments"


async def create(client: httpx.AsyncClient, **values: object) -> httpx.Response:
    return await client.post(PATH, json={"key": "qa", **values})


async def test_production_staging_and_development_are_there_from_the_start(client: httpx.AsyncClient):
    page = (await client.get(PATH)).json()
    assert {item["key"] for item in page["items"]} == {"production", "staging", "development"}
    assert page["nextCursor"] is None


async def test_environments_are_listed_in_pages(client: httpx.AsyncClient):
    first = await client.get(PATH, params={"limit": 2})
    second = await client.get(PATH, params={"limit": 2, "cursor": first.json()["nextCursor"]})
    keys = [item["key"] for page in (first, second) for item in page.json()["items"]]
    assert sorted(keys) == ["development", "production", "staging"]
    assert 'rel="next"' in first.headers["Link"]
    assert "Link" not in second.headers


async def test_a_new_environment_is_named_after_its_key_and_can_be_read_back(client: httpx.AsyncClient):
    created = await create(client)
    assert created.status_code == 201
    assert created.json()["name"] == "qa"
    found = await client.get(created.headers["Location"])
    assert found.json() == created.json()
    assert found.headers["ETag"] == created.headers["ETag"]


async def test_a_new_environment_evaluates_at_once(client: httpx.AsyncClient):
    await create(client)
    answer = await client.post("/ofrep/v1/evaluate/flags?environment=qa", json={})
    assert answer.json()["flags"] == []


async def test_a_taken_key_is_a_conflict(client: httpx.AsyncClient):
    await create(client)
    again = await create(client)
    assert (again.status_code, again.json()["code"]) == (409, "environment_exists")


async def test_the_number_of_environments_is_bounded(client: httpx.AsyncClient):
    await create(client)
    await create(client, key="qa-2")
    refused = await create(client, key="qa-3")
    assert (refused.status_code, refused.json()["code"]) == (409, "environment_limit_reached")


@pytest.mark.parametrize("key", ["", "QA", "-qa", "q a", "q/a", "q" * 129])
async def test_a_key_must_be_a_slug(client: httpx.AsyncClient, key: str):
    refused = await create(client, key=key)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert refused.json()["errors"][0]["pointer"] == "#/key"


async def test_an_unknown_environment_is_not_found(client: httpx.AsyncClient):
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        missing = await client.request(method, f"{PATH}/nowhere", json=body)
        assert (missing.status_code, missing.json()["code"]) == (404, "environment_not_found")


async def test_only_given_members_change(client: httpx.AsyncClient):
    await create(client, name="QA", description="Tests")
    changed = await client.patch(f"{PATH}/qa", json={"description": "More tests"})
    assert (changed.json()["name"], changed.json()["description"]) == ("QA", "More tests")


async def test_a_change_that_changes_nothing_keeps_the_etag(client: httpx.AsyncClient):
    created = await create(client, name="QA")
    same = await client.patch(f"{PATH}/qa", json={"name": "QA"})
    assert same.headers["ETag"] == created.headers["ETag"]


async def test_a_change_based_on_an_old_state_is_refused(client: httpx.AsyncClient):
    created = await create(client)
    old = {"If-Match": created.headers["ETag"]}
    assert (await client.patch(f"{PATH}/qa", json={"name": "QA"}, headers=old)).status_code == 200
    refused = await client.patch(f"{PATH}/qa", json={"name": "Q"}, headers=old)
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
    assert (await client.delete(f"{PATH}/qa", headers=old)).status_code == 412


async def test_a_deleted_environment_takes_its_definitions_along(client: httpx.AsyncClient):
    await create(client)
    await client.put(f"{PATH}/qa/flagd", json=document(new_checkout=definition()))
    assert (await client.delete(f"{PATH}/qa")).status_code == 204
    answer = await client.post("/ofrep/v1/evaluate/flags?environment=qa", json={})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "GENERAL")
    assert (await client.get("/v1/flags/new-checkout")).status_code == 200


async def test_production_cannot_be_deleted(client: httpx.AsyncClient):
    refused = await client.delete(f"{PATH}/production")
    assert (refused.status_code, refused.json()["code"]) == (409, "environment_protected")


async def test_every_change_is_told_with_its_actor(client: httpx.AsyncClient, database: Database):
    created = await create(client)
    await client.patch(f"{PATH}/qa", json={"name": "QA"})
    await client.delete(f"{PATH}/qa")
    async with database.session() as session:
        events = (await session.execute(select(outbox).order_by(outbox.c.sequence))).all()
    assert [event.data["change"] for event in events] == ["created", "updated", "deleted"]
    assert {event.type for event in events} == {"dev.undercroft.environment.changed"}
    assert {event.subject for event in events} == {created.json()["id"]}
    assert {event.actor for event in events} == {"key_01h455vb4pex5vsknk084sn02q"}


async def test_the_same_idempotency_key_creates_once(client: httpx.AsyncClient):
    headers = {"Idempotency-Key": "create-qa"}
    first = await client.post(PATH, json={"key": "qa"}, headers=headers)
    second = await client.post(PATH, json={"key": "qa"}, headers=headers)
    assert second.json() == first.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    other = await client.post(PATH, json={"key": "qb"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
