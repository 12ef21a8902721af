"""An environment's whole flagd document over HTTP."""

from pathlib import Path

import httpx
from fastapi import FastAPI
from services.flags.tests.factories import definition, document
from sqlalchemy import select

from undercroft.flags.models import outbox
from undercroft.shared.db import Database

PATH = "/v1/environments/production/flagd"
JSON = {"Content-Type": "application/json"}


async def put(client: httpx.AsyncClient, **flags: object) -> dict[str, int]:
    answer = await client.put(PATH, json=document(**flags))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_new_environment_exports_no_flags(client: httpx.AsyncClient):
    exported = await client.get(PATH)
    assert (exported.status_code, exported.json()) == (200, {"flags": {}})


async def test_a_document_is_given_back_as_it_came(client: httpx.AsyncClient):
    text = (
        '{"$schema":"https://flagd.dev/schema/v0/flags.json","metadata":{"version":"1.0","n":2.0},'
        '"flags":{"zebra":{"variants":{"b":1.0,"a":2,"c":1e+16},"state":"ENABLED","defaultVariant":"a"},'
        '"Ant.1":{"state":"DISABLED","variants":{"\\u0000":"nul","empty":""},"targeting":{}}},'
        '"$evaluators":{"z":{"==":[1,1.0]},"a":{"!":[true]}}}'
    )
    imported = await client.put(PATH, content=text, headers=JSON)
    assert imported.json() == {"created": 2, "updated": 0, "archived": 0}
    exported = await client.get(PATH)
    assert (exported.text, exported.headers["ETag"]) == (text, imported.headers["ETag"])


async def test_the_testbeds_document_survives_export_and_import(
    client: httpx.AsyncClient, app: FastAPI, specifications: Path
):
    app.state.settings = app.state.settings.model_copy(update={"max_flags": 100})
    text = (specifications / "flagd-testbed" / "evaluator" / "testkit-flags.json").read_bytes()
    assert (await client.put(PATH, content=text, headers=JSON)).status_code == 200
    first = (await client.get(PATH)).content
    await client.put(PATH, json={"flags": {}})
    await client.put(PATH, content=first, headers=JSON)
    assert (await client.get(PATH)).content == first


async def test_an_import_counts_what_it_did(client: httpx.AsyncClient):
    assert await put(client, a=definition(), b=definition()) == {"created": 2, "updated": 0, "archived": 0}
    off = definition(defaultVariant="off")
    assert await put(client, a=off, c=definition()) == {"created": 1, "updated": 1, "archived": 1}


async def test_the_same_document_again_changes_nothing(client: httpx.AsyncClient):
    await put(client, a=definition())
    first = await client.get(PATH)
    assert await put(client, a=definition()) == {"created": 0, "updated": 0, "archived": 0}
    assert (await client.get(PATH)).headers["ETag"] == first.headers["ETag"]


async def test_a_new_order_is_kept_without_counting_as_an_update(client: httpx.AsyncClient):
    await put(client, a=definition(), b=definition())
    assert await put(client, b=definition(), a=definition()) == {"created": 0, "updated": 0, "archived": 0}
    assert list((await client.get(PATH)).json()["flags"]) == ["b", "a"]


async def test_a_float_in_the_place_of_an_integer_is_an_update(client: httpx.AsyncClient):
    await put(client, a=definition(metadata={"n": 1}))
    assert (await put(client, a=definition(metadata={"n": 1.0})))["updated"] == 1
    assert '"n":1.0' in (await client.get(PATH)).text


async def test_imported_flags_are_typed_by_their_variants(client: httpx.AsyncClient):
    await put(client, limit=definition(variants={"on": 10}), page=definition(variants={"on": {"a": 1}}))
    assert (await client.get("/v1/flags/limit")).json()["type"] == "number"
    assert (await client.get("/v1/flags/page")).json()["type"] == "object"


async def test_a_flag_has_one_type_in_all_environments(client: httpx.AsyncClient):
    await put(client, a=definition())
    other = document(a=definition(variants={"on": "text"}))
    refused = await client.put("/v1/environments/staging/flagd", json=other)
    assert (refused.status_code, refused.json()["code"]) == (422, "definition_invalid")
    assert refused.json()["errors"][0]["pointer"] == "#/flags/a/variants/on"
    assert (await client.get("/v1/environments/staging/flagd")).json() == {"flags": {}}


async def test_a_flag_is_archived_when_the_last_environment_drops_it(client: httpx.AsyncClient):
    staging = "/v1/environments/staging/flagd"
    await put(client, a=definition())
    await client.put(staging, json=document(a=definition()))
    await put(client)
    assert (await client.get("/v1/flags/a")).json()["archivedAt"] is None
    await client.put(staging, json=document())
    assert (await client.get("/v1/flags/a")).json()["archivedAt"] is not None


async def test_an_archived_flag_comes_back_as_what_the_document_says(client: httpx.AsyncClient):
    await put(client, a=definition())
    await client.delete("/v1/flags/a")
    assert await put(client, a=definition(variants={"on": "text"})) == {
        "created": 1,
        "updated": 0,
        "archived": 0,
    }
    flag = (await client.get("/v1/flags/a")).json()
    assert (flag["type"], flag["archivedAt"]) == ("string", None)


async def test_an_import_beyond_the_number_of_flags_changes_nothing(client: httpx.AsyncClient):
    flags = {f"flag_{number}": definition() for number in range(6)}
    refused = await client.put(PATH, json=document(**flags))
    assert (refused.status_code, refused.json()["code"]) == (409, "flag_limit_reached")
    assert (await client.get(PATH)).json() == {"flags": {}}


async def test_an_import_based_on_an_old_state_is_refused(client: httpx.AsyncClient):
    old = {"If-Match": (await client.get(PATH)).headers["ETag"]}
    assert (await client.put(PATH, json=document(a=definition()), headers=old)).status_code == 200
    refused = await client.put(PATH, json=document(), headers=old)
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")


async def test_what_flagd_refuses_is_refused_with_every_place(client: httpx.AsyncClient):
    wrong = document(a=definition(state="on"), b=definition(variants={}))
    refused = await client.put(PATH, json=wrong)
    assert (refused.status_code, refused.json()["code"]) == (422, "definition_invalid")
    pointers = {each["pointer"] for each in refused.json()["errors"]}
    assert {"#/flags/a/state", "#/flags/b/variants"} <= pointers


async def test_what_flagd_loads_and_cannot_evaluate_is_taken_as_it_is(client: httpx.AsyncClient):
    dangling = definition(targeting={"$ref": "nobody"})
    await put(client, broken=dangling, fine=definition())
    broken = await client.post("/ofrep/v1/evaluate/flags/broken", json={})
    assert (broken.status_code, broken.json()["errorCode"]) == (400, "PARSE_ERROR")
    answer = await client.post("/ofrep/v1/evaluate/flags", json={})
    assert [flag.get("errorCode") for flag in answer.json()["flags"]] == ["PARSE_ERROR", None]


async def test_an_unknown_environment_has_no_document(client: httpx.AsyncClient):
    path = "/v1/environments/nowhere/flagd"
    for missing in (await client.get(path), await client.put(path, json=document())):
        assert (missing.status_code, missing.json()["code"]) == (404, "environment_not_found")


async def test_a_document_of_evaluators_alone_changes_the_environment(client: httpx.AsyncClient):
    before = (await client.get(PATH)).headers["ETag"]
    changed = await client.put(PATH, json={"flags": {}, "$evaluators": {"all": {"==": [1, 1]}}})
    assert changed.json() == {"created": 0, "updated": 0, "archived": 0}
    assert changed.headers["ETag"] != before


async def test_an_import_tells_of_every_flag_and_then_of_the_environment(
    client: httpx.AsyncClient, database: Database
):
    await put(client, a=definition())
    await put(client, b=definition())
    async with database.session() as session:
        events = (await session.execute(select(outbox).order_by(outbox.c.sequence))).all()
    told = [(event.type.removeprefix("dev.undercroft."), event.data.get("environment")) for event in events]
    assert told == [
        ("flag.created", None),
        ("flag.updated", "production"),
        ("environment.changed", None),
        ("flag.created", None),
        ("flag.updated", "production"),
        ("flag.archived", "production"),
        ("flag.archived", None),
        ("environment.changed", None),
    ]


async def test_a_document_beyond_one_mebibyte_is_refused(client: httpx.AsyncClient):
    refused = await client.put(PATH, json={"flags": {}, "metadata": {"text": "x" * 1024 * 1024}})
    assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")
