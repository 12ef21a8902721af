"""OAuth clients over HTTP: registered, changed, given new secrets, and what is refused."""

from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from services.identity.tests.factories import OPERATOR, caller, outcome
from services.identity.tests.oauth_flows import (
    REDIRECT,
    Registered,
    post_token,
    refused,
    register,
    tokens_for,
    visitor,
)
from services.identity.tests.rows import add_organization
from sqlalchemy import select

from undercroft.identity.models.base import outbox
from undercroft.identity.models.oauth import OAuthClient
from undercroft.shared.db import Database
from undercroft.shared.ids import TypeId

CLIENTS = "/v1/oauth-clients"
BODY = {
    "name": "Console",
    "type": "confidential",
    "redirectUris": [REDIRECT],
    "scopes": ["openid", "identity:read"],
}


@pytest.fixture
async def organization(database: Database) -> UUID:
    return await add_organization(database)


async def test_a_client_is_registered_and_its_secret_shown_once(client: httpx.AsyncClient):
    created = await client.post(CLIENTS, json=BODY, headers=OPERATOR)
    found = await client.get(created.headers["Location"], headers=OPERATOR)
    assert created.headers["Cache-Control"] == "no-store"
    assert created.json()["clientId"].startswith("client_")
    assert created.json()["tokenEndpointAuthMethod"] == "client_secret_basic"
    assert created.json()["grantTypes"] == ["authorization_code", "refresh_token"]
    assert found.json() == {name: value for name, value in created.json().items() if name != "clientSecret"}


async def test_only_a_hash_of_the_secret_is_stored(client: httpx.AsyncClient, database: Database):
    secret = (await register(client)).secret or ""
    async with database.session() as session:
        rows = (await session.execute(select(OAuthClient.__table__))).all()
        told = (await session.execute(select(outbox))).all()
    assert secret not in f"{rows}{told}"
    assert {event.type for event in told} == {"dev.undercroft.oauth_client.created"}
    assert told[0].actor == "key_01h455vb4pex5vsknk084sn02q"


async def test_a_public_client_has_no_secret(client: httpx.AsyncClient):
    created = await client.post(CLIENTS, json={**BODY, "type": "public"}, headers=OPERATOR)
    path = f"{created.headers['Location']}/rotate"
    assert created.json()["clientSecret"] is None
    assert created.json()["tokenEndpointAuthMethod"] == "none"
    assert outcome(await client.post(path, json={}, headers=OPERATOR)) == (409, "client_has_no_secret")


@pytest.mark.parametrize(
    ("members", "pointer", "code"),
    [
        ({"redirectUris": ["http://app.example.com/"]}, "#/redirectUris/0", "redirect_uri"),
        ({"redirectUris": ["https://app.example.com/#x"]}, "#/redirectUris/0", "redirect_uri"),
        ({"redirectUris": ["https://*.example.com/"]}, "#/redirectUris/0", "redirect_uri"),
        ({"redirectUris": ["/callback"]}, "#/redirectUris/0", "redirect_uri"),
        ({"redirectUris": ["javascript:alert(1)"]}, "#/redirectUris/0", "redirect_uri"),
        ({"redirectUris": ["com.example.app:/cb"]}, "#/redirectUris/0", "redirect_uri"),
        ({"postLogoutRedirectUris": ["http://x.example.com"]}, "#/postLogoutRedirectUris/0", "redirect_uri"),
        ({"redirectUris": []}, "#/redirectUris", "missing"),
        ({"grantTypes": ["password"]}, "#/grantTypes/0", "literal_error"),
        ({"grantTypes": ["refresh_token"]}, "#/grantTypes", "not_of_type"),
        ({"type": "public", "grantTypes": ["client_credentials"]}, "#/grantTypes", "not_of_type"),
        ({"tokenEndpointAuthMethod": "none"}, "#/tokenEndpointAuthMethod", "not_of_type"),
        ({"scopes": ["account"]}, "#/scopes/0", "scope_not_allowed"),
        ({"scopes": ["openid", "everything"]}, "#/scopes/1", "scope_not_allowed"),
        ({"scopes": []}, "#/scopes", "too_short"),
        ({"secret": "mine"}, "#/secret", "extra_forbidden"),
    ],
)
async def test_what_a_client_cannot_be_is_refused(
    client: httpx.AsyncClient, members: dict[str, object], pointer: str, code: str
):
    answer = await client.post(CLIENTS, json={**BODY, **members}, headers=OPERATOR)
    assert outcome(answer) == (422, "validation_failed")
    assert [(each["pointer"], each["code"]) for each in answer.json()["errors"]] == [(pointer, code)]


async def test_nobody_registers_scopes_that_they_do_not_hold(client: httpx.AsyncClient, organization: UUID):
    writer = caller("identity:write", organization_id=organization)
    body = {**BODY, "scopes": ["openid", "usage:write"]}
    assert outcome(await client.post(CLIENTS, json=body, headers=writer)) == (403, "scope_not_held")
    body = {**BODY, "scopes": ["flags:write"]}
    assert outcome(await client.post(CLIENTS, json=body, headers=writer)) == (422, "validation_failed")
    unasked = {**BODY, "scopes": ["openid"], "requireConsent": False}
    assert outcome(await client.post(CLIENTS, json=unasked, headers=writer)) == (422, "validation_failed")


async def test_a_client_is_its_owners_alone(
    client: httpx.AsyncClient, database: Database, organization: UUID
):
    writer = caller("identity:write", "identity:read", organization_id=organization)
    body = {**BODY, "scopes": ["openid", "identity:read"]}
    created = await client.post(CLIENTS, json=body, headers=writer)
    path = created.headers["Location"]
    assert created.json()["organizationId"] == str(TypeId("org", organization))
    other = caller("identity:write", "identity:read", organization_id=await add_organization(database))
    for headers in (other, OPERATOR):
        assert outcome(await client.get(path, headers=headers)) == (404, "oauth_client_not_found")
        assert outcome(await client.patch(path, json={"name": "x"}, headers=headers))[0] == 404
        assert outcome(await client.delete(path, headers=headers))[0] == 404
        assert outcome(await client.post(f"{path}/rotate", json={}, headers=headers))[0] == 404
        assert (await client.get(CLIENTS, headers=headers)).json()["items"] == []
    assert len((await client.get(CLIENTS, headers=writer)).json()["items"]) == 1


async def test_callers_are_told_apart(client: httpx.AsyncClient, organization: UUID):
    assert outcome(await client.get(CLIENTS)) == (401, "unauthenticated")
    reader = caller("identity:read", organization_id=organization)
    assert outcome(await client.post(CLIENTS, json=BODY, headers=reader)) == (403, "insufficient_scope")
    nowhere = caller("identity:read")
    assert outcome(await client.get(CLIENTS, headers=nowhere)) == (403, "insufficient_scope")


async def test_a_change_is_guarded_and_told(client: httpx.AsyncClient, app: FastAPI):
    registered = await register(client)
    path = f"{CLIENTS}/{registered.id}"
    etag = (await client.get(path, headers=OPERATOR)).headers["ETag"]
    change = {"name": "New", "scopes": ["openid", "usage:read"], "requireConsent": False}
    changed = await client.patch(path, json=change, headers={**OPERATOR, "If-Match": etag})
    assert (changed.json()["name"], changed.json()["requireConsent"]) == ("New", False)
    again = await client.patch(path, json={"name": "Old"}, headers={**OPERATOR, "If-Match": etag})
    assert outcome(again) == (412, "precondition_failed")
    same = await client.patch(path, json={"name": "New"}, headers=OPERATOR)
    assert same.headers["ETag"] == changed.headers["ETag"]


async def test_the_old_secret_works_until_its_grace_ends(client: httpx.AsyncClient, app: FastAPI):
    old = await register(client)
    form = {"grant_type": "client_credentials"}
    rotated = await client.post(f"{CLIENTS}/{old.id}/rotate", json={"graceSeconds": 60}, headers=OPERATOR)
    app.state.client_directory.forget(old.id)
    new = Registered(old.id, rotated.json()["clientSecret"])
    assert (await post_token(client, new, form)).status_code == 200
    assert (await post_token(client, old, form)).status_code == 200
    await client.post(f"{CLIENTS}/{old.id}/rotate", json={"graceSeconds": 0}, headers=OPERATOR)
    app.state.client_directory.forget_all()
    for ended in (old, new):
        assert refused(await post_token(client, ended, form)) == (401, "invalid_client")


async def test_what_was_issued_to_a_deleted_client_ends(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    who = await visitor(database)
    registered, server = await register(client), await register(client)
    tokens = await tokens_for(client, registered, who)
    assert (await client.delete(f"{CLIENTS}/{registered.id}", headers=OPERATOR)).status_code == 204
    told = await client.post(
        "/oauth/introspect", data={"token": tokens["access_token"]}, headers=server.basic
    )
    assert told.json() == {"active": False}
    async with database.session() as session:
        types = set(await session.scalars(select(outbox.c.type)))
    assert {"dev.undercroft.grant.revoked", "dev.undercroft.oauth_client.deleted"} <= types


async def test_there_are_only_so_many_clients(client: httpx.AsyncClient, app: FastAPI):
    settings = app.state.settings
    app.state.settings = settings.model_copy(update={"max_oauth_clients": 1})
    await register(client)
    assert outcome(await client.post(CLIENTS, json=BODY, headers=OPERATOR)) == (
        409,
        "oauth_client_limit_reached",
    )
