"""Routes whose authentication is identity's own business: what it is sent and what it answers pass untouched."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from importlib.resources import files

import httpx
import pytest
from starlette.types import Scope, Send

from undercroft.gateway.routes_table import load_routes

from .conftest import PAGES, Gateway, StartGateway, freeze_limits

ORIGIN = {"Origin": "https://app.example"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def seen(gateway: Gateway, name: str) -> list[str]:
    return [value for key, value in gateway.identity.echo.requests[-1]["headers"] if key == name]


def answer_with(gateway: Gateway, status: int, headers: list[tuple[str, str]], content: bytes = b"") -> None:
    async def reply(scope: Scope, send: Send) -> None:
        raw = [(name.encode(), value.encode()) for name, value in headers]
        raw.append((b"content-length", b"%d" % len(content)))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})

    gateway.identity.echo.reply = reply


async def test_client_credentials_and_forms_reach_the_token_endpoint_untouched(gateway: Gateway):
    body = b"grant_type=client_credentials&scope=flags%3Aread&scope=twice"
    headers = {**FORM, "Authorization": "Basic YXBwOnM=", "DPoP": "a.b.c", "X-API-Key": "uc_live_x"}
    answer = await gateway.client.post("/oauth/token?a=1", headers=headers, content=body)
    request = gateway.identity.echo.requests[-1]
    assert answer.status_code == 200
    assert (request["method"], request["path"], request["query"], request["body"]) == (
        "POST",
        "/oauth/token",
        "a=1",
        body,
    )
    assert seen(gateway, "authorization") == ["Basic YXBwOnM="]
    assert seen(gateway, "content-type") == ["application/x-www-form-urlencoded"]
    assert seen(gateway, "dpop") == ["a.b.c"]
    assert seen(gateway, "x-api-key") == seen(gateway, "undercroft-principal") == []


async def test_two_proofs_reach_identity_as_two(gateway: Gateway):
    headers = [("DPoP", "a.b.c"), ("DPoP", "d.e.f"), *FORM.items()]
    await gateway.client.post("/oauth/token", headers=headers, content=b"a=b")
    assert seen(gateway, "dpop") == ["a.b.c", "d.e.f"]


async def test_a_token_of_its_own_reaches_userinfo_unread(gateway: Gateway):
    await gateway.client.get("/oauth/userinfo", headers={"Authorization": "Bearer x"})
    assert seen(gateway, "authorization") == ["Bearer x"]
    assert gateway.identity.questions == []


@pytest.mark.parametrize(
    ("status", "media_type", "content"),
    [
        (400, "application/json", b'{"error":"invalid_grant"}'),
        (401, "application/json;charset=UTF-8", b'{"error":"invalid_client"}'),
        (200, "application/token-introspection+jwt", b"a.b.c"),
        (500, "application/json", b'{"error":"server_error"}'),
    ],
)
async def test_oauth_answers_pass_untouched(gateway: Gateway, status: int, media_type: str, content: bytes):
    given = [
        ("content-type", media_type),
        ("cache-control", "no-store"),
        ("www-authenticate", 'Basic realm="x"'),
        ("dpop-nonce", "n"),
    ]
    answer_with(gateway, status, given, content)
    answer = await gateway.client.post("/oauth/token", headers=FORM, content=b"a=b")
    assert (answer.status_code, answer.content) == (status, content)
    assert [(name, answer.headers[name]) for name, _ in given] == given


@pytest.mark.parametrize("status", [302, 303])
async def test_redirects_and_cookies_pass_untouched(gateway: Gateway, status: int):
    target = "https://app.example/callback?code=a%20b&state=%2F&iss=http%3A%2F%2F127.0.0.1"
    given = [("location", target), ("set-cookie", "a=1; HttpOnly"), ("set-cookie", "b=2; Path=/")]
    answer_with(gateway, status, given)
    answer = await gateway.client.get("/oauth/authorize", headers={"Cookie": "a=0; b=0"})
    assert (answer.status_code, answer.headers["location"]) == (status, target)
    assert answer.headers.get_list("set-cookie") == ["a=1; HttpOnly", "b=2; Path=/"]
    assert seen(gateway, "cookie") == ["a=0; b=0"]


async def test_several_cookie_headers_reach_identity(gateway: Gateway):
    await gateway.client.get("/account", headers=[("Cookie", "a=1"), ("Cookie", "b=2")])
    assert seen(gateway, "cookie") == ["a=1", "b=2"]


async def test_nobody_else_sees_or_sets_cookies(gateway: Gateway):
    async def reply(scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", b"a=1")]})
        await send({"type": "http.response.body", "body": b""})

    gateway.flags.reply = reply
    headers = {"X-API-Key": gateway.identity.issue("flags:read"), "Cookie": "undercroft_session=secret"}
    answer = await gateway.client.get("/v1/flags", headers=headers)
    assert gateway.flags.header("cookie") is None
    assert "set-cookie" not in answer.headers


async def test_tokens_and_introspection_see_no_cookies(gateway: Gateway):
    await gateway.client.post("/oauth/token", headers={**FORM, "Cookie": "a=1"}, content=b"a=b")
    assert seen(gateway, "cookie") == []


@pytest.mark.parametrize("path", PAGES)
async def test_no_other_origin_reads_a_page(gateway: Gateway, path: str):
    answer_with(gateway, 200, [("access-control-allow-origin", "*")])
    answer = await gateway.client.get(path, headers=ORIGIN)
    asked = await gateway.client.options(path, headers={**ORIGIN, "Access-Control-Request-Method": "POST"})
    assert (answer.status_code, asked.status_code) == (200, 204)
    assert "access-control-allow-origin" not in answer.headers
    assert not [name for name in asked.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "path",
    [
        "/oauth/token",
        "/oauth/userinfo",
        "/oauth/par",
        "/oauth/device_authorization",
        "/oauth/revoke",
        "/oauth/introspect",
    ],
)
async def test_any_origin_may_call_what_clients_call(start_gateway: StartGateway, path: str):
    async with start_gateway(cors_origins=["https://listed.example"]) as gateway:
        answer = await gateway.client.post(path, headers={**ORIGIN, **FORM}, content=b"a=b")
        question = {**ORIGIN, "Access-Control-Request-Method": "POST"}
        asked = await gateway.client.options(path, headers=question)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "DPoP" in asked.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in asked.headers


async def test_discovery_is_public_and_sees_no_credentials(gateway: Gateway):
    headers = {**ORIGIN, "Authorization": "Bearer x", "Cookie": "a=1"}
    answer = await gateway.client.get("/.well-known/openid-configuration", headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert seen(gateway, "authorization") == seen(gateway, "cookie") == []


async def test_the_gateways_own_refusals_are_what_oauth_clients_understand(gateway: Gateway):
    answer = await gateway.client.put("/oauth/token", headers=FORM)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == (
        "application/json",
        "no-store",
    )
    assert answer.json() == {"error": "invalid_request", "error_description": "PUT is not offered here."}
    large = await gateway.client.post("/oauth/token", headers=FORM, content=b"a=" + b"b" * 70_000)
    assert (large.status_code, large.json()["error"]) == (413, "invalid_request")


async def test_an_identity_that_fails_is_temporarily_unavailable(gateway: Gateway):
    answer_with(gateway, 199, [])
    answer = await gateway.client.post("/oauth/token", headers=FORM, content=b"a=b")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "application/json")
    assert answer.json()["error"] == "temporarily_unavailable"


async def test_a_crash_is_a_server_error(gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    async def crash(*_: object, **__: object) -> None:
        raise KeyError("internal detail")

    monkeypatch.setattr("undercroft.gateway.proxy.forward.Forwarder.forward", crash)
    answer = await gateway.client.post("/oauth/token", headers=FORM, content=b"a=b")
    assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
    assert "internal detail" not in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/users"),
        ("POST", "/v1/sessions"),
        ("POST", "/v1/sessions/passkey-options"),
        ("POST", "/v1/password-resets"),
        ("PUT", "/v1/password-resets/token"),
        ("POST", "/v1/email-verifications"),
        ("PUT", "/v1/email-verifications/token"),
        ("GET", "/v1/invitations/token"),
    ],
)
async def test_what_comes_before_signing_in_needs_no_credentials(gateway: Gateway, method: str, path: str):
    answer = await gateway.client.request(method, path, json={})
    assert answer.status_code == 200
    assert seen(gateway, "undercroft-principal") == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/me"),
        ("GET", "/v1/users"),
        ("GET", "/v1/users/usr_1"),
        ("POST", "/v1/users/usr_1/disable"),
        ("GET", "/v1/sessions"),
        ("DELETE", "/v1/sessions/ses_1"),
        ("GET", "/v1/oauth-clients"),
        ("POST", "/v1/oauth-clients"),
        ("POST", "/v1/invitations/token/accept"),
    ],
)
async def test_everything_else_needs_credentials(gateway: Gateway, method: str, path: str):
    answer = await gateway.client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (401, "credentials_missing")
    assert gateway.identity.echo.requests == []


async def test_stale_credentials_do_not_keep_anybody_from_signing_in(gateway: Gateway):
    answer = await gateway.client.post("/v1/sessions", headers={"Authorization": "Bearer stale"}, json={})
    assert answer.status_code == 200
    assert seen(gateway, "authorization") == []


async def test_signing_in_sets_cookies(gateway: Gateway):
    answer_with(gateway, 201, [("set-cookie", "undercroft_session=s; HttpOnly")])
    answer = await gateway.client.post("/v1/sessions", json={}, headers={"Cookie": "known=1"})
    assert answer.headers["set-cookie"] == "undercroft_session=s; HttpOnly"
    assert seen(gateway, "cookie") == ["known=1"]


async def test_credentials_that_are_optional_are_checked_when_they_are_sent(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
):
    shipped = files("undercroft.gateway").joinpath("routes.toml").read_text()
    own = '[[routes]]\nprefix = "/catalog"\nupstream = "flags"\nauth = "optional"\nmethods = ["GET"]\n'
    monkeypatch.setattr("undercroft.gateway.main.load_routes", partial(load_routes, text=shipped + own))
    async with start_gateway() as gateway:
        token = gateway.identity.issuer.token()
        anonymous = await gateway.client.get("/catalog")
        assert (anonymous.status_code, gateway.flags.header("undercroft-principal")) == (200, None)
        known = await gateway.client.get("/catalog", headers={"Authorization": f"Bearer {token}"})
        assert known.status_code == 200
        assert gateway.flags.header("undercroft-principal") is not None
        wrong = await gateway.client.get("/catalog", headers={"Authorization": "Bearer x"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "credentials_invalid")


async def test_passwords_are_not_tried_without_end(gateway: Gateway):
    freeze_limits(gateway)
    calls = [gateway.client.post("/sign-in", headers=FORM, content=b"a=b") for _ in range(130)]
    statuses = [answer.status_code for answer in await asyncio.gather(*calls)]
    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) == 120
    assert (await gateway.client.post("/v1/sessions", json={})).status_code == 429
    assert (await gateway.client.get("/sign-in")).status_code == 200
    assert (await gateway.client.get("/.well-known/jwks.json")).status_code == 200


async def test_the_callers_address_reaches_identity_from_behind_a_proxy(start_gateway: StartGateway):
    async with start_gateway(trusted_proxies=["127.0.0.0/8"]) as gateway:
        headers = {"X-Forwarded-For": "203.0.113.5, 198.51.100.7", "Forwarded": "for=6.6.6.6", **FORM}
        await gateway.client.post("/sign-in", headers=headers, content=b"a=b")
    assert seen(gateway, "forwarded") == ['for=198.51.100.7;proto=http;host="gateway"']


async def test_no_host_can_pretend_to_be_an_address(gateway: Gateway):
    await gateway.client.post("/sign-in", headers={**FORM, "Host": "a,for=6.6.6.6"}, content=b"a=b")
    assert seen(gateway, "forwarded") == ["for=127.0.0.1;proto=http"]


def test_identity_alone_gets_cookies_and_foreign_credentials():
    routes = [each.route for each in load_routes({"identity", "flags"}).routes]
    assert {route.upstream for route in routes if route.cookies or route.auth == "upstream"} == {"identity"}


async def test_upload_of_a_form_in_pieces_reaches_identity_whole(gateway: Gateway):
    async def pieces() -> AsyncIterator[bytes]:
        yield b"grant_type=client_credentials"
        yield b"&scope=a"

    answer: httpx.Response = await gateway.client.post("/oauth/token", headers=FORM, content=pieces())
    assert answer.status_code == 200
    assert gateway.identity.echo.requests[-1]["body"] == b"grant_type=client_credentials&scope=a"
