"""What an authorization request asks of whoever is signed in, and signing out by a client's wish."""

import re
from html import unescape

import httpx
from fastapi import FastAPI
from services.identity.tests.oauth_flows import (
    REDIRECT,
    Visitor,
    authorize,
    hidden_fields,
    jar,
    move_clock,
    register,
    request_parameters,
    sent_back,
    tokens_for,
    visitor,
)

from undercroft.shared.db import Database


async def test_signing_out_with_an_id_token_goes_back_at_once(client: httpx.AsyncClient, who: Visitor):
    bye = "https://app.example.com/bye"
    console = await register(client, postLogoutRedirectUris=[bye])
    tokens = await tokens_for(client, console, who, scope="openid identity:read")
    query = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": bye, "state": "x"}
    answer = await client.get("/oauth/logout", params=query, headers=jar(who.cookies))
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{bye}?state=x")
    assert "undercroft_session=" in answer.headers["Set-Cookie"]
    assert (await authorize(client, console, who)).headers["Location"].startswith("/sign-in")
    told = await client.post(
        "/oauth/introspect", data={"token": tokens["access_token"]}, headers=console.basic
    )
    assert told.json() == {"active": False}


async def test_signing_out_without_an_id_token_is_asked_about(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    wrong = {"client_id": console.id, "post_logout_redirect_uri": "https://evil.example.com/"}
    page = await client.get("/oauth/logout", params=wrong, headers=jar(who.cookies))
    assert "Sign out?" in page.text
    cookies = jar({**who.cookies, **dict(page.cookies)})
    from html import unescape

    fields = {name: unescape(value) for name, value in hidden_fields(page).items()}
    stay = await client.post("/oauth/logout/decision", data={**fields, "decision": "stay"}, headers=cookies)
    assert stay.headers["Location"] == "/account"
    gone = await client.post(
        "/oauth/logout/decision", data={**fields, "decision": "sign-out"}, headers=cookies
    )
    assert gone.headers["Location"].startswith("/sign-in")
    nonsense = await client.get("/oauth/logout", params={"id_token_hint": "x"}, headers=jar(who.cookies))
    assert nonsense.status_code == 400


async def test_somebody_who_is_not_signed_in_comes_back_after_it(client: httpx.AsyncClient, who: Visitor):
    console = await register(client)
    to_sign_in = await authorize(client, console, login_hint="ada@example.com")
    location = httpx.URL(to_sign_in.headers["Location"])
    assert (location.path, location.params["email"]) == ("/sign-in", "ada@example.com")
    moved = await client.get(location.params["continue"], headers=jar(who.cookies))
    assert 'http-equiv="refresh"' in moved.text
    refresh = re.search(r'content="0; url=([^"]+)"', moved.text)
    assert refresh is not None
    onward = unescape(refresh[1])
    page = await client.get(onward, headers=jar(who.cookies))
    assert "Allow <strong>Console</strong>" in page.text


async def test_prompt_login_asks_again_once(
    client: httpx.AsyncClient, app: FastAPI, database: Database, who: Visitor
):
    console = await register(client)
    asked = await authorize(client, console, who, prompt="login")
    location = httpx.URL(asked.headers["Location"])
    assert "again" in location.params
    goal = location.params["continue"].replace("&from=sign-in", "")
    still = await client.get(goal, headers=jar(who.cookies))
    assert still.headers["Location"].startswith("/sign-in?again")
    fresh = await visitor(database, "f" * 43)
    assert (await client.get(goal, headers=jar(fresh.cookies))).status_code == 200


async def test_max_age_asks_whoever_signed_in_too_long_ago(
    client: httpx.AsyncClient, app: FastAPI, who: Visitor
):
    console = await register(client, requireConsent=False)
    assert "code" in sent_back(await authorize(client, console, who, max_age=10_000))
    move_clock(app, 20)
    old = await authorize(client, console, who, max_age=10)
    assert old.headers["Location"].startswith("/sign-in?again")
    assert (
        sent_back(await authorize(client, console, who, max_age=10, prompt="none"))["error"]
        == "login_required"
    )


async def test_an_id_token_hint_names_the_only_person_that_will_do(
    client: httpx.AsyncClient, database: Database, who: Visitor
):
    console = await register(client, requireConsent=False)
    hint = (await tokens_for(client, console, who))["id_token"]
    assert "code" in sent_back(await authorize(client, console, who, id_token_hint=hint, prompt="none"))
    other = await visitor(database, "o" * 43)
    silent = await authorize(client, console, other, id_token_hint=hint, prompt="none")
    assert sent_back(silent)["error"] == "login_required"
    asked = await authorize(client, console, other, id_token_hint=hint)
    assert asked.headers["Location"].startswith("/sign-in?again")
    nonsense = await authorize(client, console, who, id_token_hint="x")
    assert sent_back(nonsense)["error"] == "invalid_request"


async def test_a_long_request_is_kept_here_while_somebody_signs_in(client: httpx.AsyncClient):
    console = await register(client)
    answer = await authorize(client, console, state="s" * 4_000)
    continued = httpx.URL(answer.headers["Location"]).params["continue"]
    assert "request_uri=" in continued
    assert len(continued) < 1_000


async def test_an_authorization_request_may_be_a_form(client: httpx.AsyncClient, who: Visitor):
    console = await register(client, requireConsent=False)
    answer = await client.post(
        "/oauth/authorize", data=request_parameters(console.id), headers=jar(who.cookies)
    )
    assert "code" in sent_back(answer)


async def test_an_existing_query_of_the_address_stays(client: httpx.AsyncClient, who: Visitor):
    address = REDIRECT + "?tenant=1"
    console = await register(client, redirectUris=[address], requireConsent=False)
    answer = await authorize(client, console, who, redirect_uri=address)
    assert answer.headers["Location"].startswith(address + "&code=")
