"""What the standards demand to be refused, one row each: status, code, headers, media type."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from services.identity.tests.oauth_flows import (
    REDIRECT,
    Registered,
    Visitor,
    code_for,
    exchange,
    jar,
    move_clock,
    post_token,
    refused,
    register,
    request_parameters,
    tokens_for,
)

from undercroft.identity.domain.oauth.parameters import read_parameters
from undercroft.identity.service.oauth.authentication import read_client

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CODE_ONLY = ["authorization_code"]


# --- Token endpoint ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, (400, "invalid_request")),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"grant_type": "authorization_code"}, (400, "invalid_request")),
        ({"grant_type": "authorization_code", "code": "unknown"}, (400, "invalid_grant")),
        ({"grant_type": "refresh_token"}, (400, "invalid_request")),
        ({"grant_type": "refresh_token", "refresh_token": "unknown"}, (400, "invalid_grant")),
        ({"grant_type": "client_credentials", "scope": "usage:write"}, (400, "invalid_scope")),
        ({"grant_type": "client_credentials", "scope": "openid"}, (400, "invalid_scope")),
        ({"grant_type": "client_credentials", "resource": "https://x.example"}, (400, "invalid_target")),
        ({"grant_type": "client_credentials", "client_secret": "x"}, (400, "invalid_request")),
        ({"grant_type": "client_credentials", "client_id": "other"}, (400, "invalid_request")),
        ({"grant_type": ["client_credentials", "client_credentials"]}, (400, "invalid_request")),
        (
            {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": "x"},
            (400, "invalid_grant"),
        ),
        ({"grant_type": "client_credentials", "client_assertion": "x"}, (401, "invalid_client")),
    ],
)
async def test_a_wrong_token_request_is_refused(
    client: httpx.AsyncClient, form: dict[str, Any], expected: tuple[int, str]
):
    console = await register(client)
    answer = await client.post("/oauth/token", data=form, headers=console.basic)
    assert refused(answer) == expected


@pytest.mark.parametrize(
    "how",
    [
        "unknown",
        "wrong secret",
        "no secret",
        "no client",
        "not base64",
        "no colon",
        "bearer",
        "public with secret",
    ],
)
async def test_a_client_that_proves_nothing_is_challenged(client: httpx.AsyncClient, how: str):
    console, app = await register(client), await register(client, type="public")
    form = {"grant_type": "client_credentials"}
    wrong = Registered(console.id, "wrong")
    headers, more = {
        "unknown": (Registered("client_01h455vb4pex5vsknk084sn02q", "x").basic, {}),
        "wrong secret": (wrong.basic, {}),
        "no secret": ({}, {"client_id": console.id}),
        "no client": ({}, {}),
        "not base64": ({"Authorization": "Basic !"}, {}),
        "no colon": ({"Authorization": "Basic " + base64.b64encode(b"app").decode()}, {}),
        "bearer": ({"Authorization": "Bearer x"}, {}),
        "public with secret": ({}, {"client_id": app.id, "client_secret": "x"}),
    }[how]
    answer = await client.post("/oauth/token", data={**form, **more}, headers=headers)
    assert refused(answer) == (401, "invalid_client")
    assert answer.headers["WWW-Authenticate"].startswith('Basic realm="undercroft"')


async def test_failed_authentication_comes_before_the_grant(client: httpx.AsyncClient):
    answer = await client.post("/oauth/token", data={"grant_type": "nonsense", "client_id": "nobody"})
    assert refused(answer) == (401, "invalid_client")


async def test_a_grant_that_the_client_is_not_registered_for(client: httpx.AsyncClient):
    console = await register(client, grantTypes=CODE_ONLY)
    answer = await post_token(client, console, {"grant_type": "client_credentials"})
    assert refused(answer) == (400, "unauthorized_client")


async def test_guessing_secrets_has_to_wait(client: httpx.AsyncClient):
    wrong = Registered((await register(client)).id, "wrong")
    answers = [await post_token(client, wrong, {"grant_type": "client_credentials"}) for _ in range(23)]
    assert refused(answers[0]) == (401, "invalid_client")
    assert refused(answers[-1]) == (429, "temporarily_unavailable")
    assert int(answers[-1].headers["Retry-After"]) >= 1


def test_basic_credentials_are_decoded_as_forms_are():
    header = "Basic YXBwOnMzY3IlMkJ0JTJGJTNEJTNBeA=="
    assert read_client([header], read_parameters("")) == ("app", "s3cr+t/=:x")
    assert read_client(["bAsIc " + base64.b64encode(b"a+b:c%20d").decode()], read_parameters("")) == (
        "a b",
        "c d",
    )


async def test_both_ways_of_presenting_a_secret_work(client: httpx.AsyncClient):
    console = await register(client)
    form = {"grant_type": "client_credentials", "client_id": console.id, "client_secret": console.secret}
    assert (await client.post("/oauth/token", data=form)).status_code == 200
    in_header = {"grant_type": "client_credentials", "client_id": console.id}
    assert (await client.post("/oauth/token", data=in_header, headers=console.basic)).status_code == 200


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"code_verifier": "x" * 43}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_grant"),
        ({"redirect_uri": REDIRECT + "/"}, "invalid_grant"),
        ({"resource": "https://unknown.example.com"}, "invalid_target"),
    ],
)
async def test_a_code_is_for_whoever_asked_for_it(
    client: httpx.AsyncClient, who: Visitor, values: dict[str, str], error: str
):
    console = await register(client)
    code = await code_for(client, console, who)
    assert refused(await exchange(client, console, code, **values)) == (400, error)
    assert (await exchange(client, console, code)).status_code == 200


async def test_an_old_client_may_leave_the_address_out(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    answer = await exchange(client, console, await code_for(client, console, who), redirect_uri="")
    assert answer.status_code == 200


async def test_a_code_of_another_client_or_an_expired_one(
    client: httpx.AsyncClient, app: FastAPI, who: Visitor
):
    console, other = await register(client), await register(client)
    code = await code_for(client, console, who)
    assert refused(await exchange(client, other, code)) == (400, "invalid_grant")
    move_clock(app, 61)
    assert refused(await exchange(client, console, code)) == (400, "invalid_grant")


async def test_a_refresh_token_is_its_clients_and_only_narrows(
    client: httpx.AsyncClient, app: FastAPI, who: Visitor
):
    console, other = await register(client), await register(client)
    tokens = await tokens_for(client, console, who)
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert refused(await post_token(client, other, form)) == (400, "invalid_grant")
    wider = {**form, "scope": tokens["scope"] + " usage:read"}
    assert refused(await post_token(client, console, wider)) == (400, "invalid_scope")
    move_clock(app, 31 * 86_400)
    assert refused(await post_token(client, console, form)) == (400, "invalid_grant")


async def test_without_offline_access_there_is_no_refresh_token(client: httpx.AsyncClient, who: Visitor):
    tokens = await tokens_for(client, await register(client), who, scope="openid")
    assert "refresh_token" not in tokens
    plain = await tokens_for(client, await register(client), who, scope="identity:read")
    assert "refresh_token" in plain
    assert "id_token" not in plain


# --- Methods, media types, bodies ----------------------------------------------------------------------------

POSTS = (
    "/oauth/token",
    "/oauth/introspect",
    "/oauth/revoke",
    "/oauth/par",
    "/oauth/device_authorization",
)


@pytest.mark.parametrize("path", POSTS)
async def test_only_forms_are_taken(client: httpx.AsyncClient, path: str):
    assert refused(await client.post(path, json={"token": "x"})) == (400, "invalid_request")
    assert refused(await client.post(path)) == (400, "invalid_request")
    assert refused(await client.post(path, content=b"\xff=\xff", headers=FORM)) == (400, "invalid_request")
    assert refused(await client.post(path, content=b"a=%ff", headers=FORM)) == (400, "invalid_request")
    long = await client.post(path, content=b"a=" + b"b" * 70_000, headers=FORM)
    assert refused(long) == (400, "invalid_request")


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
async def test_other_methods_are_refused(client: httpx.AsyncClient, path: str, method: str):
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "OPTIONS, POST")
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/oauth/authorize", "GET, HEAD, OPTIONS, POST"),
        ("/oauth/logout", "GET, HEAD, OPTIONS, POST"),
        ("/oauth/userinfo", "GET, HEAD, OPTIONS, POST"),
        ("/.well-known/jwks.json", "GET, HEAD, OPTIONS"),
        ("/.well-known/openid-configuration", "GET, HEAD, OPTIONS"),
        ("/oauth/token", "OPTIONS, POST"),
    ],
)
async def test_methods_are_listed(client: httpx.AsyncClient, path: str, allow: str):
    assert (await client.options(path)).headers["Allow"] == allow
    assert (await client.delete(path)).headers["Allow"] == allow


async def test_a_head_is_a_get_without_content(client: httpx.AsyncClient):
    got, head = [await client.request(method, "/.well-known/jwks.json") for method in ("GET", "HEAD")]
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


async def test_a_body_beyond_the_limit_is_413(client: httpx.AsyncClient):
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"a" * 65_536

    answer = await client.post("/oauth/token", content=chunks(), headers=FORM)
    assert refused(answer) == (413, "invalid_request")


async def test_a_crash_is_a_server_error_in_the_standards_words(client: httpx.AsyncClient, app: FastAPI):
    app.state.client_authenticator = None
    answer = await client.post("/oauth/token", data={"grant_type": "client_credentials"})
    assert refused(answer) == (500, "server_error")


# --- Introspection, revocation -------------------------------------------------------------------------------


async def test_who_may_ask_about_tokens(client: httpx.AsyncClient):
    console, public = await register(client), await register(client, type="public")
    missing = await client.post("/oauth/introspect", data={}, headers=console.basic)
    assert refused(missing) == (400, "invalid_request")
    for form in ({"token": "x"}, {"token": "x", "client_id": public.id}):
        answer = await client.post("/oauth/introspect", data=form)
        assert refused(answer) == (401, "invalid_client")
        assert "WWW-Authenticate" in answer.headers
    unknown = await client.post("/oauth/introspect", data={"token": "x"}, headers=console.basic)
    assert unknown.json() == {"active": False}
    assert unknown.headers["Cache-Control"] == "no-store"


async def test_what_revocation_refuses(client: httpx.AsyncClient, who: Visitor):
    console, other = await register(client), await register(client)
    public = await register(client, type="public")
    tokens = await tokens_for(client, console, who)
    assert refused(await client.post("/oauth/revoke", data={}, headers=console.basic)) == (
        400,
        "invalid_request",
    )
    unknown = await client.post("/oauth/revoke", data={"token": "x"}, headers=console.basic)
    assert (unknown.status_code, unknown.content) == (200, b"")
    identity = {"token": tokens["id_token"]}
    assert refused(await client.post("/oauth/revoke", data=identity, headers=console.basic)) == (
        400,
        "unsupported_token_type",
    )
    for token in (tokens["access_token"], tokens["refresh_token"]):
        stolen = await client.post("/oauth/revoke", data={"token": token}, headers=other.basic)
        assert refused(stolen) == (400, "unauthorized_client")
        silent = await client.post("/oauth/revoke", data={"token": token, "client_id": public.id})
        assert silent.status_code == 200
        alive = await client.post("/oauth/introspect", data={"token": token}, headers=console.basic)
        assert alive.json()["active"] is True


# --- Userinfo ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "challenge"),
    [
        ({}, 401, 'Bearer realm="undercroft"'),
        ({"Authorization": "Basic eDp4"}, 401, 'Bearer realm="undercroft"'),
        ({"Authorization": "Bearer"}, 400, 'Bearer realm="undercroft", error="invalid_request"'),
        ({"Authorization": "Bearer nonsense"}, 401, 'Bearer realm="undercroft", error="invalid_token"'),
        ({"Authorization": "bearer nonsense"}, 401, 'Bearer realm="undercroft", error="invalid_token"'),
    ],
)
async def test_userinfo_challenges(
    client: httpx.AsyncClient, headers: dict[str, str], status: int, challenge: str
):
    answer = await client.get("/oauth/userinfo", headers=headers)
    assert answer.status_code == status
    assert answer.headers["WWW-Authenticate"].startswith(challenge)
    assert answer.headers["Content-Type"] == "application/json"
    if not headers:
        assert answer.headers["WWW-Authenticate"] == challenge


async def test_userinfo_takes_no_token_in_the_query_and_none_twice(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    tokens = await tokens_for(client, console, who)
    token = tokens["access_token"]
    in_query = await client.get("/oauth/userinfo", params={"access_token": token})
    assert in_query.headers["WWW-Authenticate"] == 'Bearer realm="undercroft"'
    headers = {"Authorization": f"Bearer {token}"}
    twice = await client.post("/oauth/userinfo", data={"access_token": token}, headers=headers)
    assert twice.status_code == 400
    repeated = await client.post(
        "/oauth/userinfo", content=f"access_token={token}&access_token={token}", headers=FORM
    )
    assert repeated.status_code == 400
    identity = await client.get("/oauth/userinfo", headers={"Authorization": f"Bearer {tokens['id_token']}"})
    assert identity.status_code == 401
    narrow = (await tokens_for(client, console, who, scope="identity:read"))["access_token"]
    refused_scope = await client.get("/oauth/userinfo", headers={"Authorization": f"Bearer {narrow}"})
    assert refused_scope.status_code == 403
    assert 'error="insufficient_scope"' in refused_scope.headers["WWW-Authenticate"]
    assert 'scope="openid"' in refused_scope.headers["WWW-Authenticate"]


async def test_an_expired_token_is_invalid(client: httpx.AsyncClient, app: FastAPI, who: Visitor):
    token = (await tokens_for(client, await register(client), who))["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert (await client.get("/oauth/userinfo", headers=headers)).status_code == 200
    move_clock(app, 601)
    answer = await client.get("/oauth/userinfo", headers=headers)
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


# --- PAR and devices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"request_uri": "urn:ietf:params:oauth:request_uri:x"}, "invalid_request"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"redirect_uri": "https://evil.example.com/"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "unheard_of"}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
    ],
)
async def test_a_wrong_pushed_request_is_refused(
    client: httpx.AsyncClient, values: dict[str, Any], error: str
):
    console = await register(client)
    form = request_parameters(console.id, **values)
    assert refused(await client.post("/oauth/par", data=form, headers=console.basic)) == (400, error)


async def test_who_may_push_and_start_devices(client: httpx.AsyncClient):
    assert refused(await client.post("/oauth/par", data={"client_id": "nobody"})) == (401, "invalid_client")
    own = await client.post("/oauth/par", data={"client_id": "undercroft"})
    assert refused(own) == (400, "unauthorized_client")
    console = await register(client, grantTypes=CODE_ONLY)
    answer = await client.post("/oauth/device_authorization", data={"scope": "openid"}, headers=console.basic)
    assert refused(answer) == (400, "unauthorized_client")


async def test_a_pushed_request_is_its_clients_and_expires(
    client: httpx.AsyncClient, app: FastAPI, who: Visitor
):
    console, other = await register(client), await register(client)
    pushed = (
        await client.post("/oauth/par", data=request_parameters(console.id), headers=console.basic)
    ).json()
    for client_id in (other.id, console.id):
        if client_id == console.id:
            move_clock(app, 91)
        query = {"client_id": client_id, "request_uri": pushed["request_uri"]}
        answer = await client.get("/oauth/authorize", params=query, headers=jar(who.cookies))
        assert answer.status_code == 400
