"""The flows of OAuth and OpenID Connect as clients go through them."""

import base64
import hashlib
from typing import Any

import httpx
import jwt
import pytest
from fastapi import FastAPI
from services.identity.tests.factories import GATEWAY
from services.identity.tests.oauth_flows import (
    ISSUER,
    Visitor,
    authorize,
    code_for,
    consent,
    exchange,
    hidden_fields,
    jar,
    move_clock,
    post_token,
    refused,
    register,
    request_parameters,
    sent_back,
    tokens_for,
    visitor,
)

from undercroft.shared.db import Database
from undercroft.shared.ids import TypeId


async def claims_of(client: httpx.AsyncClient, token: str, *, audience: str = ISSUER) -> dict[str, Any]:
    keys = {
        each["kid"]: jwt.PyJWK(each) for each in (await client.get("/.well-known/jwks.json")).json()["keys"]
    }
    header = jwt.get_unverified_header(token)
    key = keys[header["kid"]]
    return jwt.decode(
        token,
        key,
        algorithms=[key.algorithm_name],
        audience=audience,
        issuer=ISSUER,
        options={"verify_iat": False},
    )


async def test_a_code_becomes_tokens(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    page = await authorize(client, console, who, nonce="n-1")
    assert "Know who you are" in page.text
    assert "form-action 'self' https://app.example.com;" in page.headers["Content-Security-Policy"]
    back = sent_back(await consent(client, page, who))
    assert (back["state"], back["iss"]) == ("a b/c", ISSUER)
    answer = await exchange(client, console, back["code"])
    tokens = answer.json()
    assert answer.headers["Cache-Control"] == "no-store"
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 600)
    assert tokens["scope"] == "identity:read openid"
    claims = await claims_of(client, tokens["access_token"])
    assert jwt.get_unverified_header(tokens["access_token"])["typ"] == "at+jwt"
    assert claims["client_id"] == console.id
    assert claims["sub"] == str(TypeId("usr", who.user_id))
    assert claims["org"] == str(TypeId("org", who.organization_id))
    assert (claims["roles"], claims["amr"]) == (["owner"], ["pwd"])
    identity = await claims_of(client, tokens["id_token"], audience=console.id)
    assert identity["nonce"] == "n-1"
    assert identity["sub"] == claims["sub"]
    digest = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert identity["at_hash"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


async def test_the_gateway_learns_what_stands_behind_a_token(client: httpx.AsyncClient, who: Visitor):
    tokens = await tokens_for(client, await register(client), who)
    claims = await claims_of(client, tokens["access_token"])
    question = {"subject": claims["sub"], "grantId": claims["sid"], "tokenId": claims["jti"]}
    answer = await client.post("/internal/access", json=question, headers=GATEWAY)
    assert answer.json()["organizationId"] == claims["org"]
    assert "identity:read" in answer.json()["scopes"]


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_id_tokens_are_signed_as_the_client_wants(
    client: httpx.AsyncClient, who: Visitor, algorithm: str
):
    console = await register(client, idTokenSignedResponseAlg=algorithm)
    tokens = await tokens_for(client, console, who)
    assert jwt.get_unverified_header(tokens["id_token"])["alg"] == algorithm
    assert "nonce" not in await claims_of(client, tokens["id_token"], audience=console.id)


async def test_what_was_allowed_once_is_not_asked_again(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    await code_for(client, console, who)
    assert "code" in sent_back(await authorize(client, console, who))
    assert "code" in sent_back(await authorize(client, console, who, prompt="none"))
    assert (await authorize(client, console, who, scope="openid usage:read")).status_code == 200
    assert (await authorize(client, console, who, prompt="consent")).status_code == 200
    assert (await authorize(client, console, who, prompt="select_account")).status_code == 200


async def test_a_refusal_goes_back(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    page = await authorize(client, console, who)
    back = sent_back(await consent(client, page, who, decision="deny"))
    assert (back["error"], back["state"], back["iss"]) == ("access_denied", "a b/c", ISSUER)


async def test_consent_of_another_session_is_refused(
    client: httpx.AsyncClient, who: Visitor, database: Database
):
    console = await register(client)
    page = await authorize(client, console, who)
    other = await visitor(database, "o" * 43)
    form = {**hidden_fields(page), "decision": "allow"}
    answer = await client.post(
        "/oauth/authorize/decision", data=form, headers=jar({**other.cookies, **dict(page.cookies)})
    )
    assert answer.status_code == 403
    nobody = await client.post("/oauth/authorize/decision", data=form)
    assert nobody.status_code == 403


async def test_the_operators_own_application_needs_no_consent(client: httpx.AsyncClient, who: Visitor):
    console = await register(client, requireConsent=False)
    assert "code" in sent_back(await authorize(client, console, who))


async def test_userinfo_tells_what_scopes_disclose(client: httpx.AsyncClient, who: Visitor):
    tokens = await tokens_for(client, await register(client), who)
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    told = (await client.get("/oauth/userinfo", headers=headers)).json()
    assert told["sub"] == str(TypeId("usr", who.user_id))
    assert (told["name"], told["email_verified"]) == ("Ada Lovelace", False)
    assert isinstance(told["updated_at"], int)
    assert "locale" not in told
    assert (await client.post("/oauth/userinfo", headers=headers)).json() == told
    in_form = await client.post("/oauth/userinfo", data={"access_token": tokens["access_token"]})
    assert in_form.json() == told


async def test_the_claims_parameter_asks_for_single_claims(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    claims = '{"userinfo":{"name":{"essential":true}},"id_token":{"email":null,"unknown":null}}'
    page = await authorize(client, console, who, scope="openid", claims=claims)
    assert "See your name" in page.text
    code = sent_back(await consent(client, page, who))["code"]
    tokens = (await exchange(client, console, code)).json()
    identity = await claims_of(client, tokens["id_token"], audience=console.id)
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    told = (await client.get("/oauth/userinfo", headers=headers)).json()
    assert set(told) == {"sub", "name"}
    assert identity["email"].endswith("@example.com")
    assert "name" not in identity


async def test_refreshing_changes_the_refresh_token_and_keeps_who_it_is(
    client: httpx.AsyncClient, app: FastAPI, who: Visitor
):
    console = await register(client)
    first = await tokens_for(client, console, who)
    move_clock(app, 60)
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "scope": "openid"}
    second = (await post_token(client, console, form)).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["scope"] == "openid"
    before, after = [
        await claims_of(client, each["id_token"], audience=console.id) for each in (first, second)
    ]
    assert (before["sub"], before["auth_time"]) == (after["sub"], after["auth_time"])
    assert after["iat"] > before["iat"]
    third = (
        await post_token(client, console, {**form, "refresh_token": second["refresh_token"], "scope": ""})
    ).json()
    assert third["scope"] == first["scope"]


async def test_a_lost_answer_is_given_again_within_the_grace(
    client: httpx.AsyncClient, app: FastAPI, who: Visitor
):
    console = await register(client)
    first = await tokens_for(client, console, who)
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = (await post_token(client, console, form)).json()
    again = (await post_token(client, console, form)).json()
    assert again["refresh_token"] == second["refresh_token"]
    assert again["access_token"] != second["access_token"]


@pytest.mark.parametrize("how", ["later", "after its successor"])
async def test_a_reused_refresh_token_ends_everything(
    client: httpx.AsyncClient, app: FastAPI, who: Visitor, how: str
):
    console = await register(client)
    first = await tokens_for(client, console, who)
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = (await post_token(client, console, form)).json()
    newest = second
    if how == "later":
        move_clock(app, 11)
    else:
        newest = (
            await post_token(client, console, {**form, "refresh_token": second["refresh_token"]})
        ).json()
    assert refused(await post_token(client, console, form)) == (400, "invalid_grant")
    assert refused(await post_token(client, console, {**form, "refresh_token": newest["refresh_token"]})) == (
        400,
        "invalid_grant",
    )
    inactive = await client.post(
        "/oauth/introspect", data={"token": newest["access_token"]}, headers=console.basic
    )
    assert inactive.json() == {"active": False}


async def test_a_code_used_twice_ends_what_it_led_to(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    code = await code_for(client, console, who)
    tokens = (await exchange(client, console, code)).json()
    assert refused(await exchange(client, console, code)) == (400, "invalid_grant")
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    answer = await client.get("/oauth/userinfo", headers=headers)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


async def test_a_client_speaks_for_itself(client: httpx.AsyncClient):
    console = await register(client)
    answer = await post_token(client, console, {"grant_type": "client_credentials", "scope": "usage:read"})
    tokens = answer.json()
    assert set(tokens) == {"access_token", "token_type", "expires_in", "scope"}
    claims = await claims_of(client, tokens["access_token"])
    assert (claims["sub"], claims["client_id"], claims["scope"]) == (console.id, console.id, "usage:read")
    userinfo = await client.get(
        "/oauth/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"}
    )
    assert userinfo.status_code == 403


async def test_a_device_is_allowed_on_another_screen(client: httpx.AsyncClient, app: FastAPI, who: Visitor):
    tv = await register(
        client,
        type="public",
        redirectUris=[],
        grantTypes=["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
    )
    started = (
        await client.post(
            "/oauth/device_authorization",
            data={"client_id": tv.id, "scope": "openid offline_access usage:read"},
        )
    ).json()
    assert started["verification_uri"] == f"{ISSUER}/device"
    assert started["verification_uri_complete"].endswith(f"user_code={started['user_code']}")
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": started["device_code"],
    }
    assert refused(await post_token(client, tv, form)) == (400, "authorization_pending")
    assert refused(await post_token(client, tv, form)) == (400, "slow_down")
    asked = await client.get("/device", params={"user_code": started["user_code"]}, headers=jar(who.cookies))
    cookies = jar({**who.cookies, **dict(asked.cookies)})
    typed = {**hidden_fields(asked), "user_code": started["user_code"].lower()}
    shown = await client.post("/device", data=typed, headers=cookies)
    assert "See usage and plans" in shown.text
    done = await client.post("/device", data={**hidden_fields(shown), "decision": "allow"}, headers=cookies)
    assert "Your device is connected" in done.text
    move_clock(app, 30)
    tokens = (await post_token(client, tv, form)).json()
    assert tokens["scope"] == "offline_access openid usage:read"
    assert {"refresh_token", "id_token"} <= set(tokens)
    assert refused(await post_token(client, tv, form)) == (400, "invalid_grant")


async def test_a_device_is_refused_or_forgotten(client: httpx.AsyncClient, app: FastAPI, who: Visitor):
    tv = await register(client, type="public")
    codes = [
        (
            await client.post("/oauth/device_authorization", data={"client_id": tv.id, "scope": "usage:read"})
        ).json()
        for _ in range(2)
    ]
    asked = await client.get("/device", headers=jar(who.cookies))
    cookies = jar({**who.cookies, **dict(asked.cookies)})
    fields = {**hidden_fields(asked), "user_code": codes[0]["user_code"], "decision": "deny"}
    assert "refused" in (await client.post("/device", data=fields, headers=cookies)).text
    forms = [
        {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": each["device_code"]}
        for each in codes
    ]
    assert refused(await post_token(client, tv, forms[0])) == (400, "access_denied")
    move_clock(app, 601)
    assert refused(await post_token(client, tv, forms[1])) == (400, "expired_token")


async def test_wrong_device_codes_have_to_wait(client: httpx.AsyncClient, who: Visitor):
    asked = await client.get("/device", headers=jar(who.cookies))
    cookies = jar({**who.cookies, **dict(asked.cookies)})
    fields = {**hidden_fields(asked), "user_code": "BBBB-BBBB"}
    statuses = [(await client.post("/device", data=fields, headers=cookies)).status_code for _ in range(13)]
    assert statuses[0] == 400
    assert statuses[-1] == 429


async def test_a_pushed_request_is_used_once(client: httpx.AsyncClient, app: FastAPI, who: Visitor):
    console = await register(client, requirePushedAuthorizationRequests=True)
    # Whoever authenticates in the header need not name themselves in the form.
    form = request_parameters(console.id)
    del form["client_id"]
    pushed = await client.post("/oauth/par", data=form, headers=console.basic)
    assert pushed.status_code == 201
    assert pushed.json()["expires_in"] == 90
    reference = {"client_id": console.id, "request_uri": pushed.json()["request_uri"]}
    page = await client.get("/oauth/authorize", params=reference, headers=jar(who.cookies))
    code = sent_back(await consent(client, page, who))["code"]
    assert (await exchange(client, console, code)).status_code == 200
    again = await client.get("/oauth/authorize", params=reference, headers=jar(who.cookies))
    assert again.status_code == 400
    direct = sent_back(await authorize(client, console, who))
    assert direct["error"] == "invalid_request"


async def test_a_pushed_request_waits_for_somebody_to_sign_in(
    client: httpx.AsyncClient, app: FastAPI, who: Visitor
):
    console = await register(client)
    pushed = (
        await client.post("/oauth/par", data=request_parameters(console.id), headers=console.basic)
    ).json()
    reference = {"client_id": console.id, "request_uri": pushed["request_uri"]}
    to_sign_in = await client.get("/oauth/authorize", params=reference)
    assert to_sign_in.headers["Location"].startswith("/sign-in?continue=")
    move_clock(app, 300)
    page = await client.get("/oauth/authorize", params=reference, headers=jar(who.cookies))
    assert page.status_code == 200


async def test_resources_become_audiences(client: httpx.AsyncClient, app: FastAPI, who: Visitor):
    api = "https://api.example.com"
    app.state.token_policy = app.state.client_credentials._policy = type(app.state.token_policy)(
        **{
            name: getattr(app.state.token_policy, name)
            for name in app.state.token_policy.__dataclass_fields__
        }
        | {"resources": (api,)}
    )
    console = await register(client)
    code = await code_for(client, console, who, resource=[api, ISSUER], scope="openid offline_access")
    tokens = (await exchange(client, console, code, resource=api)).json()
    assert (await claims_of(client, tokens["access_token"], audience=api))["aud"] == [api]
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    both = (await post_token(client, console, form)).json()
    assert (await claims_of(client, both["access_token"]))["aud"] == [api, ISSUER]
    wrong = {**form, "refresh_token": both["refresh_token"], "resource": "https://other.example.com"}
    assert refused(await post_token(client, console, wrong)) == (400, "invalid_target")
    credentials = {"grant_type": "client_credentials", "resource": api}
    own = (await post_token(client, console, credentials)).json()
    assert (await claims_of(client, own["access_token"], audience=api))["aud"] == [api]


async def test_introspection_tells_about_live_tokens(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    tokens = await tokens_for(client, console, who)

    async def ask(token: str, hint: str = "nonsense") -> dict[str, Any]:
        form = {"token": token, "token_type_hint": hint}
        return (await client.post("/oauth/introspect", data=form, headers=console.basic)).json()

    told = await ask(tokens["access_token"])
    assert told["active"] is True
    required = {
        "scope",
        "client_id",
        "username",
        "token_type",
        "exp",
        "iat",
        "nbf",
        "sub",
        "aud",
        "iss",
        "jti",
    }
    assert required <= set(told)
    refresh = await ask(tokens["refresh_token"], "access_token")
    assert (refresh["active"], refresh["client_id"]) == (True, console.id)
    assert await ask(tokens["id_token"]) == {"active": False}
    other = await register(client, scopes=["openid"], grantTypes=["authorization_code"])
    for token in (tokens["access_token"], tokens["refresh_token"]):
        answer = await client.post("/oauth/introspect", data={"token": token}, headers=other.basic)
        assert answer.json() == {"active": False}


async def test_a_revoked_access_token_is_dead_at_once(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    tokens = await tokens_for(client, console, who)
    for _ in range(2):
        answer = await client.post(
            "/oauth/revoke", data={"token": tokens["access_token"]}, headers=console.basic
        )
        assert (answer.status_code, answer.content) == (200, b"")
    told = await client.post(
        "/oauth/introspect", data={"token": tokens["access_token"]}, headers=console.basic
    )
    assert told.json() == {"active": False}
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert (await post_token(client, console, refresh)).status_code == 200


async def test_a_revoked_refresh_token_takes_its_access_tokens_along(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    tokens = await tokens_for(client, console, who)
    form = {"token": tokens["refresh_token"], "token_type_hint": "access_token"}
    assert (await client.post("/oauth/revoke", data=form, headers=console.basic)).status_code == 200
    told = await client.post(
        "/oauth/introspect", data={"token": tokens["access_token"]}, headers=console.basic
    )
    assert told.json() == {"active": False}


async def test_own_sign_in_refreshes_with_the_built_in_client(
    client: httpx.AsyncClient, app: FastAPI, database: Database, who: Visitor
):
    from undercroft.identity.dependencies.tokens import token_service_on

    async with database.begin() as session:
        from datetime import UTC, datetime

        pair = await token_service_on(app, session).issue_for_session(
            who.session_id,
            who.user_id,
            organization_id=None,
            methods=["pwd", "otp", "mfa"],
            authenticated_at=datetime.now(UTC),
        )
    form = {"grant_type": "refresh_token", "refresh_token": pair.refresh_token, "client_id": "undercroft"}
    answer = await client.post("/oauth/token", data=form)
    claims = await claims_of(client, answer.json()["access_token"])
    assert claims["client_id"] == "undercroft"
    assert "account" in claims["scope"].split()
    assert claims["org"] == str(TypeId("org", who.organization_id))
    assert "id_token" not in answer.json()
    assert pair.access_token not in repr(pair)
