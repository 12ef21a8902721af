"""Flags over HTTP: what a flag is everywhere."""

import httpx
import pytest
from services.flags.tests.factories import definition, document
from sqlalchemy import select

from undercroft.flags.models import outbox
from undercroft.shared.db import Database

PATH = "/v1/flags"
DEFINED = f"{PATH}/new-checkout/environments/production"


async def create(client: httpx.AsyncClient, key: str = "new-checkout", **values: object) -> httpx.Response:
    return await client.post(PATH, json={"key": key, "type": "boolean", **values})


async def evaluate(client: httpx.AsyncClient, key: str = "new-checkout") -> httpx.Response:
    return await client.post(f"/ofrep/v1/evaluate/flags/{key}", json={})


async def test_a_new_flag_can_be_read_back(client: httpx.AsyncClient):
    created = await create(client, description="The new checkout", owner="payments", tags=["web", "q3"])
    assert created.status_code == 201
    flag = created.json()
    assert flag["id"].startswith("flg_")
    assert (flag["owner"], flag["tags"], flag["archivedAt"]) == ("payments", ["web", "q3"], None)
    found = await client.get(created.headers["Location"])
    assert (found.json(), found.headers["ETag"]) == (flag, created.headers["ETag"])


async def test_a_boolean_flag_has_on_and_off_unless_it_says_otherwise(client: httpx.AsyncClient):
    assert (await create(client)).json()["variants"] == {"on": True, "off": False}
    other = await create(client, "other", variants={"yes": True, "no": False})
    assert other.json()["variants"] == {"yes": True, "no": False}


async def test_a_flag_of_another_type_starts_without_variants(client: httpx.AsyncClient):
    assert (await create(client, type="string")).json()["variants"] == {}


async def test_a_new_flag_is_evaluated_only_where_it_is_defined(client: httpx.AsyncClient):
    await create(client)
    assert (await evaluate(client)).json()["errorCode"] == "FLAG_NOT_FOUND"
    await client.put(DEFINED, json=definition())
    assert (await evaluate(client)).json()["value"] is True


async def test_a_taken_key_is_a_conflict(client: httpx.AsyncClient):
    await create(client)
    again = await create(client)
    assert (again.status_code, again.json()["code"]) == (409, "flag_exists")


async def test_the_number_of_flags_is_bounded(client: httpx.AsyncClient):
    for number in range(5):
        assert (await create(client, f"flag-{number}")).status_code == 201
    refused = await create(client, "flag-5")
    assert (refused.status_code, refused.json()["code"]) == (409, "flag_limit_reached")


@pytest.mark.parametrize("key", ["", "..", "a b", "a/b", "ä", "k" * 129])
async def test_a_key_is_restricted_to_what_needs_no_escaping(client: httpx.AsyncClient, key: str):
    refused = await create(client, key)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "#/key")


async def test_variants_must_be_of_the_flags_type(client: httpx.AsyncClient):
    refused = await create(client, type="number", variants={"low": 1, "high/er": "2"})
    assert (refused.status_code, refused.json()["code"]) == (422, "definition_invalid")
    problem = refused.json()["errors"][0]
    assert (problem["pointer"], problem["code"]) == ("#/variants/high~1er", "variant_type_mismatch")


async def test_variants_keep_their_order_and_their_floats(client: httpx.AsyncClient):
    created = await create(client, type="number", variants={"z": 1.0, "a": 1, "big": 1e16})
    found = await client.get(created.headers["Location"])
    assert '"variants":{"z":1.0,"a":1,"big":1e+16}' in found.text.replace("1e16", "1e+16")


async def test_unknown_members_are_refused(client: httpx.AsyncClient):
    refused = await create(client, colour="red")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "#/colour")


async def test_an_unknown_flag_is_not_found(client: httpx.AsyncClient):
    for method, body in (("GET", None), ("PATCH", {"owner": "x"}), ("DELETE", None)):
        missing = await client.request(method, f"{PATH}/nothing", json=body)
        assert (missing.status_code, missing.json()["code"]) == (404, "flag_not_found")


async def test_only_given_members_change(client: httpx.AsyncClient):
    await create(client, description="The new checkout", owner="payments")
    changed = await client.patch(f"{PATH}/new-checkout", json={"owner": None, "tags": ["web"]})
    flag = changed.json()
    assert (flag["description"], flag["owner"], flag["tags"]) == ("The new checkout", None, ["web"])


async def test_a_change_that_changes_nothing_keeps_the_etag(client: httpx.AsyncClient):
    created = await create(client, owner="payments")
    same = await client.patch(f"{PATH}/new-checkout", json={"owner": "payments", "archived": False})
    assert same.headers["ETag"] == created.headers["ETag"]


async def test_changed_variants_must_be_of_the_flags_type(client: httpx.AsyncClient):
    await create(client)
    refused = await client.patch(f"{PATH}/new-checkout", json={"variants": {"on": "yes"}})
    assert (refused.status_code, refused.json()["code"]) == (422, "definition_invalid")


async def test_a_change_based_on_an_old_state_is_refused(client: httpx.AsyncClient):
    created = await create(client)
    old = {"If-Match": created.headers["ETag"]}
    assert (await client.patch(f"{PATH}/new-checkout", json={"owner": "a"}, headers=old)).status_code == 200
    refused = await client.patch(f"{PATH}/new-checkout", json={"owner": "b"}, headers=old)
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
    assert (await client.delete(f"{PATH}/new-checkout", headers=old)).status_code == 412


async def test_an_archived_flag_is_evaluated_nowhere(client: httpx.AsyncClient):
    await client.put("/v1/environments/production/flagd", json=document(new_checkout=definition()))
    assert (await client.delete(f"{PATH}/new-checkout")).status_code == 204
    assert (await evaluate(client)).json()["errorCode"] == "FLAG_NOT_FOUND"
    assert (await client.get(f"{PATH}/new-checkout")).json()["archivedAt"] is not None
    missing = await client.get(DEFINED)
    assert (missing.status_code, missing.json()["code"]) == (404, "definition_not_found")


async def test_archiving_again_changes_nothing(client: httpx.AsyncClient):
    await create(client)
    await client.delete(f"{PATH}/new-checkout")
    first = await client.get(f"{PATH}/new-checkout")
    assert (await client.delete(f"{PATH}/new-checkout")).status_code == 204
    assert (await client.get(f"{PATH}/new-checkout")).headers["ETag"] == first.headers["ETag"]


async def test_an_archived_flag_comes_back_with_its_definitions(client: httpx.AsyncClient):
    await client.put("/v1/environments/production/flagd", json=document(new_checkout=definition()))
    await client.delete(f"{PATH}/new-checkout")
    restored = await client.patch(f"{PATH}/new-checkout", json={"archived": False})
    assert restored.json()["archivedAt"] is None
    assert (await evaluate(client)).json()["value"] is True


async def test_an_archived_flag_takes_no_definition(client: httpx.AsyncClient):
    await create(client)
    await client.delete(f"{PATH}/new-checkout")
    refused = await client.put(DEFINED, json=definition())
    assert (refused.status_code, refused.json()["code"]) == (409, "flag_archived")


async def test_archived_flags_are_listed_only_on_request(client: httpx.AsyncClient):
    await create(client, "kept")
    await create(client, "gone")
    await client.delete(f"{PATH}/gone")
    listed = (await client.get(PATH)).json()["items"]
    archived = (await client.get(PATH, params={"archived": "true"})).json()["items"]
    assert [flag["key"] for flag in listed] == ["kept"]
    assert [flag["key"] for flag in archived] == ["gone"]


async def test_flags_are_listed_by_tag_in_pages(client: httpx.AsyncClient):
    for number in range(3):
        await create(client, f"web-{number}", tags=["web"])
    await create(client, "mobile", tags=["mobile"])
    first = (await client.get(PATH, params={"tag": "web", "limit": 2})).json()
    second = (await client.get(PATH, params={"tag": "web", "limit": 2, "cursor": first["nextCursor"]})).json()
    keys = [flag["key"] for flag in first["items"] + second["items"]]
    assert keys == ["web-0", "web-1", "web-2"]
    assert second["nextCursor"] is None


async def test_a_flag_tells_where_it_is_defined_and_whether_it_is_on_there(client: httpx.AsyncClient):
    created = await create(client)
    await client.put(f"{PATH}/new-checkout/environments/staging", json=definition())
    await client.put(DEFINED, json=definition(state="DISABLED"))
    await client.patch(f"{PATH}/new-checkout", json={"owner": "payments"})
    (listed,) = (await client.get(PATH)).json()["items"]
    assert created.json()["states"] == {}
    assert list(listed["states"].items()) == [("production", "DISABLED"), ("staging", "ENABLED")]
    assert (await client.get(f"{PATH}/new-checkout")).json() == listed


async def test_a_state_changes_with_its_definition(client: httpx.AsyncClient):
    await create(client)
    for state in ("ENABLED", "DISABLED"):
        await client.put(DEFINED, json=definition(state=state))
        assert (await client.get(f"{PATH}/new-checkout")).json()["states"] == {"production": state}
    imported = document(new_checkout=definition(), other=definition(state="DISABLED"))
    await client.put("/v1/environments/production/flagd", json=imported)
    listed = (await client.get(PATH)).json()["items"]
    assert [flag["states"]["production"] for flag in listed] == ["ENABLED", "DISABLED"]


async def test_an_archived_flag_is_on_nowhere_until_it_comes_back(client: httpx.AsyncClient):
    await create(client)
    await client.put(DEFINED, json=definition())
    archived = await client.patch(f"{PATH}/new-checkout", json={"archived": True})
    restored = await client.patch(f"{PATH}/new-checkout", json={"archived": False})
    assert (archived.json()["states"], restored.json()["states"]) == ({}, {"production": "ENABLED"})


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ({"environment": "production"}, ["on", "off"]),
        ({"environment": "production", "state": "ENABLED"}, ["on"]),
        ({"environment": "staging", "state": "ENABLED"}, ["off"]),
        ({"state": "DISABLED"}, ["off"]),
        ({"environment": "nowhere"}, []),
    ],
)
async def test_flags_are_listed_by_environment_and_state(
    client: httpx.AsyncClient, query: dict[str, str], keys: list[str]
):
    flags = document(on=definition(), off=definition(state="DISABLED"))
    await client.put("/v1/environments/production/flagd", json=flags)
    await client.put(f"{PATH}/off/environments/staging", json=definition())
    await create(client, "undefined")
    listed = (await client.get(PATH, params=query)).json()["items"]
    assert sorted(flag["key"] for flag in listed) == sorted(keys)


@pytest.mark.parametrize("query", [{"environment": "Production"}, {"state": "on"}])
async def test_a_filter_that_can_match_nothing_is_refused(client: httpx.AsyncClient, query: dict[str, str]):
    refused = await client.get(PATH, params=query)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")


async def test_a_cursor_that_was_not_issued_is_refused(client: httpx.AsyncClient):
    refused = await client.get(PATH, params={"cursor": "made-up"})
    assert refused.status_code == 400


async def test_every_change_is_told(client: httpx.AsyncClient, database: Database):
    created = await create(client)
    await client.put(DEFINED, json=definition())
    await client.patch(f"{PATH}/new-checkout", json={"owner": "payments"})
    await client.delete(f"{PATH}/new-checkout")
    async with database.session() as session:
        events = (await session.execute(select(outbox).order_by(outbox.c.sequence))).all()
    about_flag = [event for event in events if event.subject == created.json()["id"]]
    assert [event.type.removeprefix("dev.undercroft.flag.") for event in about_flag] == [
        "created",
        "updated",
        "updated",
        "archived",
    ]
    assert about_flag[1].data == {"key": "new-checkout", "environment": "production"}
    changes = [event for event in events if event.type == "dev.undercroft.environment.changed"]
    assert [event.data["change"] for event in changes] == ["flags", "flags"]


async def test_the_same_idempotency_key_creates_once(client: httpx.AsyncClient):
    headers = {"Idempotency-Key": "create-checkout"}
    flag = {"key": "new-checkout", "type": "boolean"}
    first = await client.post(PATH, json=flag, headers=headers)
    second = await client.post(PATH, json=flag, headers=headers)
    assert (second.status_code, second.json()) == (201, first.json())
