"""What the standards demand of the authorization endpoint to be refused, one row each, and what not."""

from typing import Any

import httpx
import pytest
from services.identity.tests.oauth_flows import (
    CHALLENGE,
    ISSUER,
    REDIRECT,
    Visitor,
    authorize,
    jar,
    register,
    request_parameters,
    sent_back,
)

from undercroft.shared.db import Database

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CODE_ONLY = ["authorization_code"]


# --- Authorization endpoint: what is shown, and sent nowhere -------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"client_id": None},
        {"client_id": "client_01h455vb4pex5vsknk084sn02q"},
        {"client_id": "undercroft"},
        {"client_id": "nonsense"},
        {"redirect_uri": None},
        {"redirect_uri": ""},
        {"redirect_uri": REDIRECT + "/"},
        {"redirect_uri": REDIRECT + "?x=1"},
        {"redirect_uri": REDIRECT.upper()},
        {"redirect_uri": "https://evil.example.com/callback"},
        {"redirect_uri": [REDIRECT, REDIRECT]},
        {"client_id": ["a", "b"]},
        {"request_uri": "urn:ietf:params:oauth:request_uri:unknown"},
        {"state": "\x00"},
    ],
)
async def test_an_unknown_client_or_address_is_shown_and_never_followed(
    client: httpx.AsyncClient, who: Visitor, values: dict[str, Any]
):
    console = await register(client)
    parameters = request_parameters(console.id)
    parameters = {name: value for name, value in {**parameters, **values}.items() if value is not None}
    answer = await client.get("/oauth/authorize", params=parameters, headers=jar(who.cookies))
    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Location" not in answer.headers
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"


# --- Authorization endpoint: what goes back to the client ----------------------------------------------------


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "openid usage:write"}, "invalid_scope"),
        ({"scope": "unheard_of"}, "invalid_scope"),
        ({"scope": 'openid "'}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": CHALLENGE + "!"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": "S512"}, "invalid_request"),
        ({"nonce": ["a", "b"]}, "invalid_request"),
        ({"nonce": "n" * 1_025}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "dance"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"request": "eyJhbGciOiJub25lIn0."}, "request_not_supported"),
        ({"request_uri": "https://app.example.com/request"}, "request_uri_not_supported"),
        ({"registration": "{}"}, "registration_not_supported"),
        ({"resource": "https://unknown.example.com"}, "invalid_target"),
        ({"claims": "[]"}, "invalid_request"),
        ({"claims": "{"}, "invalid_request"),
        ({"claims": '{"userinfo": 1}'}, "invalid_request"),
        ({"dpop_jkt": "x"}, "invalid_request"),
        ({"prompt": "none"}, "consent_required"),
        ({"id_token_hint": "nonsense"}, "invalid_request"),
        ({"claims": '{"id_token":{"sub":{"value":"usr_x"}}}', "prompt": "none"}, "login_required"),
    ],
)
async def test_a_wrong_request_is_sent_back(
    client: httpx.AsyncClient, who: Visitor, values: dict[str, Any], error: str
):
    console = await register(client)
    back = sent_back(await authorize(client, console, who, **values))
    assert (back["error"], back["state"], back["iss"]) == (error, "a b/c", ISSUER)
    assert "code" not in back


async def test_nobody_signed_in_is_login_required_when_no_page_may_be_shown(client: httpx.AsyncClient):
    console = await register(client)
    assert sent_back(await authorize(client, console, prompt="none"))["error"] == "login_required"


async def test_a_client_without_codes_is_told(client: httpx.AsyncClient, who: Visitor):
    machine = await register(client, grantTypes=["client_credentials"])
    assert sent_back(await authorize(client, machine, who))["error"] == "unauthorized_client"


async def test_an_open_choice_is_interaction_required(
    client: httpx.AsyncClient, database: Database, who: Visitor
):
    from services.identity.tests.rows import add_organization

    await add_organization(database, who.user_id)
    console = await register(client, requireConsent=False)
    assert sent_back(await authorize(client, console, who, prompt="none"))["error"] == "interaction_required"
    page = await authorize(client, console, who)
    assert "<select" in page.text


@pytest.mark.parametrize(
    "values",
    [
        {"unknown": "1"},
        {"display": "popup", "ui_locales": "de", "claims_locales": "de", "acr_values": "1 2"},
        {"nonce": ""},
        {"scope": "openid profile email address phone"},
        {"max_age": "10000"},
        {"code_challenge": CHALLENGE},
        {"claims": '{"userinfo":{"picture":null,"acr":{"essential":false}}}'},
    ],
)
async def test_what_is_unknown_is_ignored(client: httpx.AsyncClient, who: Visitor, values: dict[str, Any]):
    console = await register(client, requireConsent=False)
    assert "code" in sent_back(await authorize(client, console, who, **values))


async def test_loopback_addresses_may_have_any_port(client: httpx.AsyncClient, who: Visitor):
    native = await register(
        client,
        type="public",
        redirectUris=["http://127.0.0.1/cb", "http://[::1]:1/cb", "http://localhost:9/cb"],
        requireConsent=False,
    )
    for address in ("http://127.0.0.1:4711/cb", "http://[::1]:4711/cb"):
        answer = await authorize(client, native, who, redirect_uri=address)
        assert answer.headers["Location"].startswith(address + "?code=")
    for address in ("http://localhost:4711/cb", "http://127.0.0.1:4711/other", "http://127.0.0.2:1/cb"):
        assert (await authorize(client, native, who, redirect_uri=address)).status_code == 400
