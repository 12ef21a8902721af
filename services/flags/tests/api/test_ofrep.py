"""OFREP evaluation over HTTP; every answer is checked by the client against the strict restatement of its schema."""

from collections.abc import Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI
from services.flags.tests.factories import (
    ORGANIZATION_ID,
    caller,
    customer,
    definition,
    document,
    person,
    targeted,
)

from undercroft.flags.domain import FlagSet
from undercroft.flags.main import install
from undercroft.shared.auth import Kind
from undercroft.shared.db import Database

ALL = "/ofrep/v1/evaluate/flags"
ONE = f"{ALL}/new-checkout"
JSON = {"Content-Type": "application/json"}
PLAN_RULE = {"if": [{"==": [{"var": "organization.plan"}, "pro"]}, "on"]}
ORGANIZATION_RULE = {"if": [{"==": [{"var": "organization.id"}, ORGANIZATION_ID]}, "on"]}

Define = Callable[..., Awaitable[None]]


@pytest.fixture
def define(client: httpx.AsyncClient) -> Define:
    """Put a document into an environment."""

    async def put(environment: str = "production", **flags: object) -> None:
        path = f"/v1/environments/{environment}/flagd"
        answer = await client.put(path, json=document(**flags))
        assert answer.status_code == 200, answer.text

    return put


async def test_a_static_flag_gives_its_default_variant(client: httpx.AsyncClient, define: Define):
    await define(new_checkout=definition(metadata={"team": "payments"}))
    body = (await client.post(ONE, json={"context": {"targetingKey": "ann"}})).json()
    assert body == {
        "key": "new-checkout",
        "value": True,
        "reason": "STATIC",
        "variant": "on",
        "metadata": {"team": "payments"},
    }


async def test_a_rule_decides_by_the_context(client: httpx.AsyncClient, define: Define):
    await define(new_checkout=targeted({"if": [{"==": [{"var": "country"}, "nl"]}, "on"]}))
    match = (await client.post(ONE, json={"context": {"country": "nl"}})).json()
    other = (await client.post(ONE, json={"context": {"country": "de"}})).json()
    assert (match["value"], match["reason"]) == (True, "TARGETING_MATCH")
    assert (other["value"], other["reason"]) == (False, "DEFAULT")


async def test_numbers_keep_their_type(client: httpx.AsyncClient, define: Define):
    await define(new_checkout=definition(variants={"on": 1.0}), whole=definition(variants={"on": 1}))
    assert '"value":1.0' in (await client.post(ONE, json={})).text
    assert '"value":1,' in (await client.post(f"{ALL}/whole", json={})).text


async def test_a_disabled_flag_leaves_the_value_to_the_caller(client: httpx.AsyncClient, define: Define):
    await define(new_checkout=definition(state="DISABLED"))
    body = (await client.post(ONE, json={})).json()
    assert (body["reason"], body["variant"], "value" in body) == ("DISABLED", "", False)


async def test_an_unknown_flag_is_not_found(client: httpx.AsyncClient):
    answer = await client.post(ONE, json={})
    body = answer.json()
    assert (answer.status_code, body["key"], body["errorCode"]) == (404, "new-checkout", "FLAG_NOT_FOUND")


async def test_a_key_with_a_slash_is_an_unknown_flag(client: httpx.AsyncClient):
    answer = await client.post(f"{ALL}/a/b%20c", json={})
    assert (answer.status_code, answer.json()["key"]) == (404, "a/b c")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b'{"context": {"n": NaN}}', "PARSE_ERROR"),
        (b'{"context": {"n": 1e999}}', "PARSE_ERROR"),
        (b'{"context": {"t": "\xff"}}', "PARSE_ERROR"),
        (b"[]", "INVALID_CONTEXT"),
        (b'"text"', "INVALID_CONTEXT"),
        (b'{"context": []}', "INVALID_CONTEXT"),
        (b'{"context": null}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 7}}', "INVALID_CONTEXT"),
    ],
)
async def test_a_wrong_request_is_refused_in_ofreps_form(client: httpx.AsyncClient, body: bytes, code: str):
    one = await client.post(ONE, content=body, headers=JSON)
    every = await client.post(ALL, content=body, headers=JSON)
    assert (one.status_code, one.json()["errorCode"]) == (400, code)
    assert (every.status_code, every.json()["errorCode"]) == (400, code)
    assert one.json()["key"] == "new-checkout"
    assert "key" not in every.json()


@pytest.mark.parametrize("body", [b"", b"{}", b'{"context": {}}', b'{"other": 1}'])
async def test_a_context_may_be_absent(client: httpx.AsyncClient, define: Define, body: bytes):
    await define(new_checkout=definition())
    assert (await client.post(ONE, content=body)).json()["value"] is True


async def test_a_context_of_64_kib_is_evaluated_and_more_is_too_large(
    client: httpx.AsyncClient, define: Define
):
    await define(new_checkout=definition())
    largest = {"context": {"t": "x" * (64 * 1024 - 8)}}
    assert (await client.post(ONE, json=largest)).status_code == 200
    for path in (ONE, ALL):
        refused = await client.post(path, json={"context": {"t": "x" * 66 * 1024}})
        assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")


async def test_a_body_in_another_format_is_refused(client: httpx.AsyncClient):
    refused = await client.post(ONE, content=b"a=b", headers={"Content-Type": "text/plain"})
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")


async def test_bulk_answers_every_flag_and_a_broken_one_alone_fails(
    client: httpx.AsyncClient, define: Define
):
    await define(
        fine=definition(),
        off=definition(state="DISABLED"),
        broken=definition(targeting={"$ref": "nobody"}),
    )
    answer = await client.post(ALL, json={"context": {}})
    body = answer.json()
    assert answer.status_code == 200
    assert {flag["key"]: flag.get("errorCode", flag.get("reason")) for flag in body["flags"]} == {
        "fine": "STATIC",
        "off": "DISABLED",
        "broken": "PARSE_ERROR",
    }


async def test_bulk_also_answers_with_a_trailing_slash(client: httpx.AsyncClient, define: Define):
    await define(new_checkout=definition())
    plain, slashed = await client.post(ALL, json={}), await client.post(f"{ALL}/", json={})
    assert (slashed.status_code, slashed.content) == (200, plain.content)


async def test_bulk_has_a_strong_validator_of_set_context_and_result(
    client: httpx.AsyncClient, define: Define
):
    await define(new_checkout=definition())
    ann = await client.post(ALL, json={"context": {"targetingKey": "ann", "a": 1}})
    again = await client.post(ALL, json={"context": {"a": 1, "targetingKey": "ann"}})
    bob = await client.post(ALL, json={"context": {"targetingKey": "bob", "a": 1}})
    await define(new_checkout=definition(defaultVariant="off"))
    changed = await client.post(ALL, json={"context": {"targetingKey": "ann", "a": 1}})
    assert ann.headers["ETag"].startswith('"')
    assert again.headers["ETag"] == ann.headers["ETag"]
    assert len({answer.headers["ETag"] for answer in (ann, bob, changed)}) == 3


@pytest.mark.parametrize("template", ["{}", "W/{}", '"other", {}', '"other",W/{} , "third"', "*"])
async def test_an_answer_that_the_client_has_is_not_sent_again(
    client: httpx.AsyncClient, define: Define, template: str
):
    await define(new_checkout=definition())
    first = await client.post(ALL, json={})
    headers = {"If-None-Match": template.format(first.headers["ETag"])}
    second = await client.post(ALL, json={}, headers=headers)
    assert (second.status_code, second.content) == (304, b"")
    for name in ("ETag", "Cache-Control", "Vary"):
        assert second.headers[name] == first.headers[name]


@pytest.mark.parametrize("sent", ['"other"', 'W/"other"', ""])
async def test_another_validator_gets_the_whole_answer(client: httpx.AsyncClient, define: Define, sent: str):
    await define(new_checkout=definition())
    assert (await client.post(ALL, json={}, headers={"If-None-Match": sent})).status_code == 200


async def test_an_answer_is_the_callers_own(client: httpx.AsyncClient):
    answer = await client.post(ALL, json={})
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["Vary"] == "Authorization, X-API-Key"


@pytest.mark.parametrize("kind", ["user", "client"])
async def test_people_and_clients_evaluate_in_production(
    client: httpx.AsyncClient, define: Define, kind: Kind
):
    await define(new_checkout=definition())
    assert (await client.post(ONE, json={}, headers=person(kind))).json()["value"] is True
    elsewhere = await client.post(f"{ONE}?environment=staging", json={}, headers=person(kind))
    assert (elsewhere.status_code, elsewhere.json()["errorCode"]) == (400, "GENERAL")


async def test_a_key_evaluates_in_the_environment_it_is_bound_to(client: httpx.AsyncClient, define: Define):
    await define(new_checkout=definition())
    await define("staging", new_checkout=definition(defaultVariant="off"))
    for environment, value in (("production", True), ("staging", False)):
        answer = await client.post(ONE, json={}, headers=customer(environment=environment))
        assert answer.json()["value"] is value
        same = await client.post(
            f"{ONE}?environment={environment}", json={}, headers=customer(environment=environment)
        )
        assert same.json()["value"] is value


async def test_an_operators_key_chooses_and_gets_production_otherwise(
    client: httpx.AsyncClient, define: Define
):
    await define(new_checkout=definition())
    await define("staging", new_checkout=definition(defaultVariant="off"))
    assert (await client.post(ONE, json={})).json()["value"] is True
    assert (await client.post(f"{ONE}?environment=staging", json={})).json()["value"] is False


@pytest.mark.parametrize(
    ("sign", "query"),
    [
        pytest.param(lambda: customer(environment=None), "", id="unbound"),
        pytest.param(lambda: customer(environment=None), "?environment=production", id="unbound, asking"),
        pytest.param(
            lambda: customer(environment="staging"), "?environment=production", id="bound, asking another"
        ),
        pytest.param(
            lambda: caller("operator", environment="staging"),
            "?environment=production",
            id="bound operator, asking another",
        ),
        pytest.param(lambda: caller("flags:evaluate", environment="nowhere"), "", id="bound to nothing"),
        pytest.param(lambda: caller("operator"), "?environment=nowhere", id="operator, asking nothing"),
        pytest.param(
            lambda: caller("operator"), "?environment=staging&environment=production", id="asking twice"
        ),
    ],
)
async def test_an_environment_that_is_not_the_callers_is_refused_in_ofreps_form(
    client: httpx.AsyncClient, sign: Callable[[], dict[str, str]], query: str
):
    one = await client.post(ONE + query, json={}, headers=sign())
    every = await client.post(ALL + query, json={}, headers=sign())
    assert (one.status_code, one.json()["errorCode"]) == (400, "GENERAL")
    assert (every.status_code, every.json()["errorCode"]) == (400, "GENERAL")


async def test_the_callers_organization_and_plan_are_in_the_context(
    client: httpx.AsyncClient, define: Define
):
    await define(plan=targeted(PLAN_RULE), organization=targeted(ORGANIZATION_RULE))
    answer = await client.post(ALL, json={"context": {}}, headers=customer(plan="pro"))
    assert [flag["value"] for flag in answer.json()["flags"]] == [True, True]
    assert (await client.post(f"{ALL}/plan", json={}, headers=customer())).json()["value"] is False


@pytest.mark.parametrize(
    ("given", "matching"),
    [
        ({"plan": "free"}, {"organization"}),
        ({"id": "org_other"}, {"plan"}),
        ({"name": "Acme"}, {"plan", "organization"}),
        ("acme", set()),
        (None, set()),
    ],
)
async def test_what_the_client_says_of_its_organization_stands(
    client: httpx.AsyncClient, define: Define, given: object, matching: set[str]
):
    await define(plan=targeted(PLAN_RULE), organization=targeted(ORGANIZATION_RULE))
    context = {"context": {"organization": given}}
    answer = await client.post(ALL, json=context, headers=customer(plan="pro"))
    assert {flag["key"] for flag in answer.json()["flags"] if flag["value"]} == matching


async def test_a_crash_is_told_in_ofreps_form_and_nothing_more(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
):
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(FlagSet, "render", crash)
    monkeypatch.setattr(FlagSet, "render_all", crash)
    one, every = await client.post(ONE, json={}), await client.post(ALL, json={})
    assert (one.status_code, one.json()["errorCode"]) == (500, "GENERAL")
    assert (every.status_code, every.json()["errorCode"]) == (500, "GENERAL")
    assert "secret" not in one.text + every.text


async def test_a_replica_that_has_read_nothing_is_unavailable(
    database: Database, app: FastAPI, client: httpx.AsyncClient
):
    install(app, database)
    for path in (ONE, ALL):
        away = await client.post(path, json={})
        assert (away.status_code, away.json()["code"]) == (503, "snapshot_missing")
        assert int(away.headers["Retry-After"]) >= 1
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["snapshots"][0]["status"]) == (503, "fail")


async def test_only_post_evaluates(client: httpx.AsyncClient):
    refused = await client.get(ONE)
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
    assert "POST" in refused.headers["Allow"]
