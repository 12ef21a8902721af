"""Connected applications, and tokens derived from keys."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import jwt
import pytest
from services.identity.tests.factories import GATEWAY, OPERATOR, caller, create_key, outcome
from services.identity.tests.oauth_flows import authorize, hidden_fields, jar, register, tokens_for, visitor
from services.identity.tests.rows import add_organization
from sqlalchemy import select, update

from undercroft.identity.models.api_keys import ApiKey
from undercroft.identity.models.base import outbox
from undercroft.identity.models.oauth import AuthorizationCode, RevokedToken
from undercroft.identity.models.sessions import Grant, RefreshToken
from undercroft.identity.repository.oauth.pruning import prune_oauth
from undercroft.shared.auth import Principal
from undercroft.shared.db import Database
from undercroft.shared.ids import TypeId
from undercroft.shared.testing import principal_headers

GRANTS = "/v1/me/grants"


def person(user_id: UUID) -> dict[str, str]:
    principal = Principal(f"{TypeId('usr', user_id)}", "user", scopes=frozenset({"account"}))
    return dict(principal_headers(principal, audience="identity"))


async def test_somebody_sees_and_disconnects_applications(client: httpx.AsyncClient, database: Database):
    who, other = await visitor(database), await visitor(database, "o" * 43)
    console = await register(client)
    tokens = await tokens_for(client, console, who)
    (app,) = (await client.get(GRANTS, headers=person(who.user_id))).json()["items"]
    assert (app["clientId"], app["clientName"], app["organizationName"]) == (console.id, "Console", "Acme")
    assert "identity:read" in app["scopes"]
    path = f"{GRANTS}/{console.id}"
    assert outcome(await client.delete(path, headers=person(other.user_id))) == (
        404,
        "oauth_client_not_found",
    )
    assert (await client.delete(path, headers=person(who.user_id))).status_code == 204
    assert (await client.get(GRANTS, headers=person(who.user_id))).json()["items"] == []
    told = await client.post(
        "/oauth/introspect", data={"token": tokens["access_token"]}, headers=console.basic
    )
    assert told.json() == {"active": False}
    assert (await authorize(client, console, who)).status_code == 200
    async with database.session() as session:
        types = set(await session.scalars(select(outbox.c.type)))
    assert {"dev.undercroft.consent.given", "dev.undercroft.consent.withdrawn"} <= types


async def test_connected_applications_are_a_persons(client: httpx.AsyncClient):
    assert outcome(await client.get(GRANTS)) == (401, "unauthenticated")
    assert (await client.get(GRANTS, headers=caller("identity:read"))).status_code == 403


async def test_a_derived_token_opens_less_and_ends_with_its_key(client: httpx.AsyncClient):
    key = await create_key(
        client,
        scopes=["usage:ingest", "flags:evaluate"],
        environment="production",
        allowedCidrs=["192.0.2.0/24"],
    )
    body = {"scopes": ["flags:evaluate"], "expiresInSeconds": 300}
    answer = await client.post(f"/v1/api-keys/{key['id']}/tokens", json=body, headers=OPERATOR)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    assert (answer.json()["tokenType"], answer.json()["expiresIn"]) == ("Bearer", 300)
    claims = jwt.decode(answer.json()["accessToken"], options={"verify_signature": False})
    assert (claims["sub"], claims["scope"], claims["env"]) == (key["id"], "flags:evaluate", "production")
    assert claims["exp"] - claims["iat"] == 300
    question = {"subject": key["id"], "tokenId": claims["jti"]}
    access = (await client.post("/internal/access", json=question, headers=GATEWAY)).json()
    assert access["allowedCidrs"] == ["192.0.2.0/24"]
    server = await register(client)
    introspect = {"token": answer.json()["accessToken"]}
    assert (await client.post("/oauth/introspect", data=introspect, headers=server.basic)).json()["active"]
    await client.delete(f"/v1/api-keys/{key['id']}", headers=OPERATOR)
    gone = await client.post("/oauth/introspect", data=introspect, headers=server.basic)
    assert gone.json() == {"active": False}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": ["usage:write"]}, "#/scopes/0"),
        ({"scopes": ["identity:read", "identity:write"]}, "#/scopes/1"),
        ({"scopes": ["identity:read"], "expiresInSeconds": 3_601}, "#/expiresInSeconds"),
        ({"scopes": []}, "#/scopes"),
    ],
)
async def test_a_derived_token_never_opens_more(
    client: httpx.AsyncClient, body: dict[str, object], pointer: str
):
    key = await create_key(client, scopes=["identity:read", "identity:write"])
    answer = await client.post(f"/v1/api-keys/{key['id']}/tokens", json=body, headers=OPERATOR)
    assert outcome(answer) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_a_derived_token_does_not_outlive_its_key(client: httpx.AsyncClient, database: Database):
    soon = datetime.now(UTC) + timedelta(seconds=100)
    key = await create_key(client, expiresAt=soon.isoformat())
    path, body = f"/v1/api-keys/{key['id']}/tokens", {"scopes": ["identity:read"]}
    answer = await client.post(path, json=body, headers=OPERATOR)
    assert 90 <= answer.json()["expiresIn"] <= 100
    async with database.begin() as session:
        await session.execute(update(ApiKey).values(expires_at=datetime.now(UTC)))
    assert outcome(await client.post(path, json=body, headers=OPERATOR)) == (422, "validation_failed")


async def test_tokens_are_derived_by_keepers_of_the_organization(
    client: httpx.AsyncClient, database: Database
):
    organization = await add_organization(database)
    base = f"/v1/organizations/{TypeId('org', organization)}/api-keys"
    key = await create_key(client, base, scopes=["usage:read"])
    path, body = f"{base}/{key['id']}/tokens", {"scopes": ["usage:read"]}
    keeper = caller("identity:api_keys", "usage:read", organization_id=organization)
    answer = await client.post(path, json=body, headers=keeper)
    claims = jwt.decode(answer.json()["accessToken"], options={"verify_signature": False})
    assert claims["org"] == str(TypeId("org", organization))
    narrow = caller("identity:api_keys", organization_id=organization)
    assert outcome(await client.post(path, json=body, headers=narrow)) == (403, "scope_not_held")
    other = caller("identity:api_keys", "usage:read", organization_id=await add_organization(database))
    assert outcome(await client.post(path, json=body, headers=other)) == (404, "organization_not_found")
    assert outcome(await client.post(path, json=body)) == (401, "unauthenticated")


async def test_what_is_over_is_pruned(client: httpx.AsyncClient, database: Database):
    console = await register(client)
    tokens = await tokens_for(client, console, await visitor(database))
    await client.post("/oauth/revoke", data={"token": tokens["access_token"]}, headers=console.basic)
    async with database.begin() as session:
        assert await prune_oauth(session, now=datetime.now(UTC)) == 0
        later = datetime.now(UTC) + timedelta(days=400)
        assert await prune_oauth(session, now=later) >= 4
        for table in (AuthorizationCode, RefreshToken, RevokedToken, Grant):
            assert (await session.execute(select(table))).all() == []


async def test_the_account_page_disconnects_too(client: httpx.AsyncClient, database: Database):
    who = await visitor(database)
    console = await register(client)
    await tokens_for(client, console, who)
    page = await client.get("/account", headers=jar(who.cookies))
    assert "Connected applications" in page.text
    cookies = jar({**who.cookies, **dict(page.cookies)})
    form = {"form_token": hidden_fields(page)["form_token"]}
    answer = await client.post(f"/account/apps/{console.id}/disconnect", data=form, headers=cookies)
    assert answer.headers["Location"] == "/account?notice=disconnected"
    assert "Connected applications" not in (await client.get("/account", headers=jar(who.cookies))).text
