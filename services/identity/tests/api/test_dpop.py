"""Tokens bound to a key (RFC 9449)."""

import base64
import hashlib
import time
from typing import Any

import httpx
import jwt
import pytest
from fastapi import FastAPI
from joserfc import jws
from joserfc.jwk import ECKey
from services.identity.tests.oauth_flows import (
    ISSUER,
    Visitor,
    code_for,
    exchange,
    move_clock,
    post_token,
    refused,
    register,
    request_parameters,
    tokens_for,
    visitor,
)

from undercroft.shared.db import Database
from undercroft.shared.serialization import dumps

KEY = ECKey.generate_key("P-256", auto_kid=False)
OTHER = ECKey.generate_key("P-256", auto_kid=False)
CREDENTIALS = {"grant_type": "client_credentials"}


@pytest.fixture
async def who(database: Database) -> Visitor:
    return await visitor(database)


def proof(
    path: str = "/oauth/token", *, key: ECKey = KEY, method: str = "POST", token: str = "", **claims: Any
) -> str:
    members = {
        "jti": base64.urlsafe_b64encode(time.time_ns().to_bytes(8)).decode(),
        "htm": method,
        "htu": ISSUER + path,
        "iat": int(time.time()),
        **claims,
    }
    if token:
        digest = hashlib.sha256(token.encode()).digest()
        members["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)}
    return jws.serialize_compact(
        header, dumps(members), key, registry=jws.JWSRegistry(strict_check_header=False)
    )


async def test_a_proof_binds_the_token_to_its_key(client: httpx.AsyncClient):
    console = await register(client)
    answer = await post_token(client, console, CREDENTIALS, DPoP=proof())
    assert answer.json()["token_type"] == "DPoP"
    claims = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    assert claims["cnf"] == {"jkt": KEY.thumbprint()}
    told = await client.post(
        "/oauth/introspect", data={"token": answer.json()["access_token"]}, headers=console.basic
    )
    assert (told.json()["token_type"], told.json()["cnf"]) == ("DPoP", claims["cnf"])


@pytest.mark.parametrize(
    "claims",
    [
        {"htm": "GET"},
        {"htu": "https://evil.example.com/oauth/token"},
        {"htu": ISSUER + "/oauth/par"},
        {"iat": int(time.time()) - 3_600},
        {"iat": int(time.time()) + 3_600},
        {"iat": None},
        {"jti": ""},
    ],
)
async def test_a_wrong_proof_is_refused(client: httpx.AsyncClient, claims: dict[str, Any]):
    console = await register(client)
    answer = await post_token(client, console, CREDENTIALS, DPoP=proof(**claims))
    assert refused(answer) == (400, "invalid_dpop_proof")


async def test_a_proof_is_used_once_and_sent_once(client: httpx.AsyncClient):
    console, made = await register(client), proof()
    assert (await post_token(client, console, CREDENTIALS, DPoP=made)).status_code == 200
    again = await post_token(client, console, CREDENTIALS, DPoP=made)
    assert refused(again) == (400, "invalid_dpop_proof")
    headers = [*console.basic.items(), ("DPoP", proof()), ("DPoP", proof())]
    twice = await client.post("/oauth/token", data=CREDENTIALS, headers=headers)
    assert refused(twice) == (400, "invalid_dpop_proof")
    nonsense = await post_token(client, console, CREDENTIALS, DPoP="x")
    assert refused(nonsense) == (400, "invalid_dpop_proof")


async def test_a_client_may_be_held_to_proofs(client: httpx.AsyncClient):
    console = await register(client, dpopBoundAccessTokens=True)
    assert refused(await post_token(client, console, CREDENTIALS)) == (400, "invalid_dpop_proof")


async def test_userinfo_wants_the_key_of_a_bound_token(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    code = await code_for(client, console, who, dpop_jkt=KEY.thumbprint())
    assert refused(await exchange(client, console, code)) == (400, "invalid_grant")
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    }
    token = (await post_token(client, console, form, DPoP=proof())).json()["access_token"]

    async def ask(scheme: str, **headers: str) -> httpx.Response:
        return await client.get("/oauth/userinfo", headers={"Authorization": f"{scheme} {token}", **headers})

    good = proof("/oauth/userinfo", method="GET", token=token)
    assert (await ask("DPoP", DPoP=good)).status_code == 200
    replayed = await ask("DPoP", DPoP=good)
    assert 'DPoP realm="undercroft", error="invalid_dpop_proof"' in replayed.headers["WWW-Authenticate"]
    assert (await ask("Bearer")).status_code == 401
    assert (await ask("DPoP")).status_code == 401
    other = proof("/oauth/userinfo", method="GET", token=token, key=OTHER)
    assert (await ask("DPoP", DPoP=other)).status_code == 401
    bare = proof("/oauth/userinfo", method="GET")
    assert (await ask("DPoP", DPoP=bare)).status_code == 401


async def test_an_unbound_token_is_not_presented_as_bound(client: httpx.AsyncClient, who: Visitor):
    token = (await tokens_for(client, await register(client), who))["access_token"]
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof("/oauth/userinfo", method="GET", token=token)}
    assert (await client.get("/oauth/userinfo", headers=headers)).status_code == 401


async def test_refresh_tokens_of_public_clients_are_bound_too(client: httpx.AsyncClient, who: Visitor):
    app = await register(client, type="public")
    code = await code_for(client, app, who, scope="openid offline_access")
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    }
    tokens = (await post_token(client, app, form, DPoP=proof())).json()
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert refused(await post_token(client, app, refresh)) == (400, "invalid_grant")
    assert refused(await post_token(client, app, refresh, DPoP=proof(key=OTHER))) == (400, "invalid_grant")
    assert (await post_token(client, app, refresh, DPoP=proof())).json()["token_type"] == "DPoP"


async def test_a_pushed_request_with_a_proof_is_bound(client: httpx.AsyncClient):
    console = await register(client)
    form = request_parameters(console.id, dpop_jkt=OTHER.thumbprint())
    headers = {**console.basic, "DPoP": proof("/oauth/par")}
    assert refused(await client.post("/oauth/par", data=form, headers=headers)) == (400, "invalid_request")
    headers = {**console.basic, "DPoP": proof("/oauth/par")}
    answer = await client.post("/oauth/par", data=request_parameters(console.id), headers=headers)
    assert answer.status_code == 201


async def test_nonces_may_be_demanded(client: httpx.AsyncClient, app: FastAPI):
    app.state.settings = app.state.settings.model_copy(update={"dpop_nonce_required": True})
    console = await register(client)
    first = await post_token(client, console, CREDENTIALS, DPoP=proof())
    assert refused(first) == (400, "use_dpop_nonce")
    nonce = first.headers["DPoP-Nonce"]
    second = await post_token(client, console, CREDENTIALS, DPoP=proof(nonce=nonce))
    assert second.status_code == 200
    assert second.headers["DPoP-Nonce"]
    forged = await post_token(client, console, CREDENTIALS, DPoP=proof(nonce="forged"))
    assert refused(forged) == (400, "use_dpop_nonce")
    move_clock(app, 301)
    late = proof(nonce=nonce, iat=int(time.time()) + 301)
    assert refused(await post_token(client, console, CREDENTIALS, DPoP=late)) == (400, "use_dpop_nonce")
