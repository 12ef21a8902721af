"""One flag in one environment over HTTP."""

import json

import httpx
import pytest
from services.flags.tests.factories import definition, targeted

PATH = "/v1/flags/new-checkout/environments/production"


@pytest.fixture
async def flag(client: httpx.AsyncClient) -> None:
    await client.post("/v1/flags", json={"key": "new-checkout", "type": "boolean"})


@pytest.mark.usefixtures("flag")
async def test_a_definition_can_be_read_back(client: httpx.AsyncClient):
    stored = await client.put(PATH, json=definition())
    assert (stored.status_code, stored.json()) == (200, definition())
    found = await client.get(PATH)
    assert (found.json(), found.headers["ETag"]) == (definition(), stored.headers["ETag"])


@pytest.mark.usefixtures("flag")
async def test_a_definition_without_variants_takes_those_of_the_flag(client: httpx.AsyncClient):
    stored = await client.put(PATH, json={"state": "ENABLED", "defaultVariant": "off"})
    assert stored.json()["variants"] == {"on": True, "off": False}
    assert (await client.get(PATH)).json() == stored.json()


@pytest.mark.usefixtures("flag")
async def test_the_same_definition_again_keeps_the_etag(client: httpx.AsyncClient):
    first = await client.put(PATH, json=definition())
    second = await client.put(PATH, json=definition())
    assert second.headers["ETag"] == first.headers["ETag"]


@pytest.mark.usefixtures("flag")
async def test_a_flag_keeps_its_place_when_it_changes(client: httpx.AsyncClient):
    await client.post("/v1/flags", json={"key": "another", "type": "boolean"})
    await client.put(PATH, json=definition())
    await client.put("/v1/flags/another/environments/production", json=definition())
    await client.put(PATH, json=definition(state="DISABLED"))
    document = (await client.get("/v1/environments/production/flagd")).json()
    assert list(document["flags"]) == ["new-checkout", "another"]


@pytest.mark.usefixtures("flag")
async def test_a_change_based_on_an_old_state_is_refused(client: httpx.AsyncClient):
    first = await client.put(PATH, json=definition())
    old = {"If-Match": first.headers["ETag"]}
    assert (await client.put(PATH, json=definition(state="DISABLED"), headers=old)).status_code == 200
    refused = await client.put(PATH, json=definition(), headers=old)
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")


@pytest.mark.usefixtures("flag")
async def test_nothing_matches_a_definition_that_is_not_there(client: httpx.AsyncClient):
    refused = await client.put(PATH, json=definition(), headers={"If-Match": "*"})
    assert refused.status_code == 412


@pytest.mark.usefixtures("flag")
async def test_a_flag_that_the_environment_does_not_define_has_no_definition(client: httpx.AsyncClient):
    missing = await client.get(PATH)
    assert (missing.status_code, missing.json()["code"]) == (404, "definition_not_found")


@pytest.mark.usefixtures("flag")
async def test_flag_and_environment_must_exist(client: httpx.AsyncClient):
    for path, code in (
        ("/v1/flags/nothing/environments/production", "flag_not_found"),
        ("/v1/flags/new-checkout/environments/nowhere", "environment_not_found"),
    ):
        assert (await client.get(path)).json()["code"] == code
        refused = await client.put(path, json=definition())
        assert (refused.status_code, refused.json()["code"]) == (404, code)


@pytest.mark.usefixtures("flag")
@pytest.mark.parametrize(
    ("wrong", "pointer", "code"),
    [
        ({"state": "on"}, "#/state", "invalid_state"),
        ({"variants": {}}, "#/variants", "missing_variants"),
        ({"variants": []}, "#/variants", "wrong_type"),
        ({"variants": {"on": "yes"}}, "#/variants/on", "variant_type_mismatch"),
        ({"defaultVariant": "maybe"}, "#/defaultVariant", "unknown_default_variant"),
        ({"targeting": {"no_such": []}}, "#/targeting", "unknown_operator"),
        ({"targeting": {"$ref": "nobody"}}, "#/targeting", "unknown_evaluator"),
        ({"targeting": {"if": [True, "maybe"]}}, "#/targeting/if/1", "unknown_variant"),
        ({"metadata": {"a": []}}, "#/metadata/a", "wrong_type"),
        ({"strategies": []}, "#/strategies", "unknown_member"),
        ({"rules": [], "targeting": {}}, "#/targeting", "conflicting_members"),
    ],
)
async def test_a_wrong_definition_is_refused_with_the_place(
    client: httpx.AsyncClient, wrong: dict[str, object], pointer: str, code: str
):
    refused = await client.put(PATH, json=definition(**wrong))
    assert (refused.status_code, refused.json()["code"]) == (422, "definition_invalid")
    assert (pointer, code) in [(each["pointer"], each["code"]) for each in refused.json()["errors"]]
    assert (await client.get(PATH)).status_code == 404


@pytest.mark.usefixtures("flag")
async def test_a_rule_may_refer_to_the_environments_evaluators(client: httpx.AsyncClient):
    everybody = {"$evaluators": {"everybody": {"==": [1, 1]}}, "flags": {}}
    await client.put("/v1/environments/production/flagd", json=everybody)
    rule = {"if": [{"$ref": "everybody"}, "on", "off"]}
    assert (await client.put(PATH, json=targeted(rule))).status_code == 200
    answer = await client.post("/ofrep/v1/evaluate/flags/new-checkout", json={})
    assert (answer.json()["value"], answer.json()["reason"]) == (True, "TARGETING_MATCH")


@pytest.mark.usefixtures("flag")
async def test_a_definition_is_stored_as_it_came(client: httpx.AsyncClient):
    text = (
        '{"variants":{"off":false,"on":true},"state":"ENABLED","metadata":{"z":1.0,"a":1e+16,"nul":"\\u0000"},'
        '"defaultVariant":null,"targeting":{"if":[{"<":[{"var":"n"},2.0]},"on"]}}'
    )
    stored = await client.put(PATH, content=text, headers={"Content-Type": "application/json"})
    assert stored.status_code == 200
    assert (await client.get(PATH)).text == text


@pytest.mark.usefixtures("flag")
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b'{"state": NaN}', 400, "malformed_json"),
        (b"[]", 422, "validation_failed"),
        (b"", 422, "validation_failed"),
    ],
)
async def test_a_body_that_is_no_object_is_refused(
    client: httpx.AsyncClient, body: bytes, status: int, code: str
):
    refused = await client.put(PATH, content=body, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (status, code)


@pytest.mark.usefixtures("flag")
async def test_a_definition_in_another_format_is_refused(client: httpx.AsyncClient):
    body = json.dumps(definition())
    refused = await client.put(PATH, content=body, headers={"Content-Type": "application/yaml"})
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")
