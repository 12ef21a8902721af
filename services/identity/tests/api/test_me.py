"""One's own account: profile, address, password, memberships, its end; and links that are mailed."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from services.identity.tests.factories import OPERATOR, caller, create_organization, outcome
from services.identity.tests.people import (
    ADA,
    PASSWORD,
    add_member,
    add_session,
    add_user,
    bearer,
    confirmed,
    happenings,
    mails_of,
    sign_in,
    signed_in,
    text_of,
    token_in,
)
from sqlalchemy import select

from undercroft.identity.models.sessions import Session
from undercroft.identity.models.users import User
from undercroft.shared.db import Database

NEW = "another quiet vault"


async def test_the_profile_is_read_and_changed(client: httpx.AsyncClient, database: Database):
    user_id = await add_user(database)
    headers = bearer(user_id)
    read = await client.get("/v1/me", headers=headers)
    changed = await client.patch(
        "/v1/me",
        json={"name": "Augusta", "locale": "de-AT", "zoneinfo": "Europe/Vienna"},
        headers={**headers, "If-Match": read.headers["ETag"]},
    )
    stale = await client.patch(
        "/v1/me", json={"name": "A"}, headers={**headers, "If-Match": read.headers["ETag"]}
    )
    assert (read.json()["id"], read.json()["hasPassword"], read.json()["hasTotp"]) == (user_id, False, False)
    assert (changed.json()["name"], changed.json()["locale"]) == ("Augusta", "de-AT")
    assert outcome(stale) == (412, "precondition_failed")
    assert await happenings(database) == [("user.updated", user_id, user_id)]


async def test_the_profile_is_told_past_the_framework_as_its_route_tells_it(
    client: httpx.AsyncClient, database: Database
):
    headers = bearer(await add_user(database))
    past = await client.get("/v1/me", headers=headers)
    by_route = await client.get("/v1/me?unknown=1", headers=headers)
    assert (past.status_code, past.json()) == (200, by_route.json())
    for name in ("etag", "content-type", "content-length"):
        assert past.headers[name] == by_route.headers[name]


@pytest.mark.parametrize("body", [{"name": ""}, {"locale": "x y"}, {"zoneinfo": "../../etc"}, {"email": ADA}])
async def test_a_wrong_profile_is_refused(
    client: httpx.AsyncClient, database: Database, body: dict[str, str]
):
    headers = bearer(await add_user(database))
    answer = await client.patch("/v1/me", json=body, headers=headers)
    assert outcome(answer) == (422, "validation_failed")


async def test_a_deleted_user_has_no_account(client: httpx.AsyncClient):
    answer = await client.get("/v1/me", headers=bearer("usr_01h455vb4pex5vsknk084sn02q"))
    assert outcome(answer) == (404, "user_not_found")


async def test_a_new_password_signs_out_every_other_device(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    user_id = await confirmed(client, app)
    here, grant_id = await add_session(database, user_id)
    await add_session(database, user_id)
    headers = bearer(user_id, grant_id=grant_id)
    body = {"currentPassword": PASSWORD, "newPassword": NEW}
    wrong = await client.post("/v1/me/password", json={**body, "currentPassword": NEW}, headers=headers)
    weak = await client.post("/v1/me/password", json={**body, "newPassword": "short"}, headers=headers)
    done = await client.post("/v1/me/password", json=body, headers=headers)
    async with database.session() as session:
        left = (await session.scalars(select(Session.id))).all()
    assert outcome(wrong) == (403, "password_wrong")
    assert weak.json()["errors"][0]["pointer"] == "#/newPassword"
    assert (done.status_code, len(left)) == (204, 1)
    assert (await sign_in(client, password=NEW)).status_code == 201
    assert any("password of your account was changed" in text_of(mail) for mail in await mails_of(app))
    assert here


@pytest.mark.usefixtures("long_waits")
async def test_guessing_the_current_password_must_wait(client: httpx.AsyncClient, app: FastAPI):
    _, headers = await signed_in(client, app)
    body = {"currentPassword": "wrong wrong wrong", "newPassword": NEW}
    answers = [await client.post("/v1/me/password", json=body, headers=headers) for _ in range(7)]
    assert outcome(answers[-1]) == (429, "too_many_attempts")


async def test_a_new_address_counts_when_its_mail_was_read(client: httpx.AsyncClient, app: FastAPI):
    user_id, headers = await signed_in(client, app)
    body = {"email": "ada@new.example.com", "password": PASSWORD}
    wrong = await client.post("/v1/me/email", json={**body, "password": NEW}, headers=headers)
    asked = await client.post("/v1/me/email", json=body, headers=headers)
    (mail,) = await mails_of(app)
    before = (await client.get("/v1/me", headers=headers)).json()["email"]
    done = await client.put(f"/v1/email-verifications/{token_in(mail)}")
    again = await client.put(f"/v1/email-verifications/{token_in(mail)}")
    (notice,) = await mails_of(app)
    assert outcome(wrong) == (403, "password_wrong")
    assert (asked.status_code, mail["To"], before) == (202, "ada@new.example.com", ADA)
    assert (done.json()["id"], done.json()["email"]) == (user_id, "ada@new.example.com")
    assert outcome(again) == (404, "link_invalid")
    assert notice["To"] == ADA
    assert (await sign_in(client, "ada@new.example.com")).status_code == 201


async def test_a_taken_new_address_is_told_only_to_its_owner(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    _, headers = await signed_in(client, app)
    await add_user(database, "eve@example.com")
    body = {"email": "eve@example.com", "password": PASSWORD}
    assert (await client.post("/v1/me/email", json=body, headers=headers)).status_code == 202
    (mail,) = await mails_of(app)
    assert "already has an account" in mail["Subject"]


async def test_a_reset_link_sets_the_password_once_and_signs_out_everywhere(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    user_id = await confirmed(client, app)
    _, grant_id = await add_session(database, user_id)
    answers = [
        await client.post("/v1/password-resets", json={"email": email})
        for email in (ADA.upper(), "nobody@example.com")
    ]
    (mail,) = await mails_of(app)
    path = f"/v1/password-resets/{token_in(mail)}"
    weak = await client.put(path, json={"password": "short"})
    done = await client.put(path, json={"password": NEW})
    again = await client.put(path, json={"password": NEW})
    assert [(answer.status_code, answer.content) for answer in answers] == [(202, b"")] * 2
    assert outcome(weak) == (422, "validation_failed")
    assert done.status_code == 204
    assert outcome(again) == (404, "link_invalid")
    assert outcome(await client.put("/v1/password-resets/x", json={"password": NEW})) == (404, "link_invalid")
    assert (await sign_in(client, password=NEW)).status_code == 201
    assert ("grant.revoked", grant_id, user_id) in await happenings(database)


async def test_nobody_gets_a_reset_link_for_a_disabled_account(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    user_id = await add_user(database)
    await client.patch(f"/v1/users/{user_id}", json={"isDisabled": True}, headers=OPERATOR)
    await client.post("/v1/password-resets", json={"email": ADA})
    assert await mails_of(app) == []


async def test_memberships_are_listed(client: httpx.AsyncClient, database: Database):
    user_id, organization = await add_user(database), await create_organization(client)
    await add_member(database, organization["id"], user_id, "developer")
    items = (await client.get("/v1/me/memberships", headers=bearer(user_id))).json()["items"]
    assert [(each["organizationId"], each["role"]) for each in items] == [(organization["id"], "developer")]


async def test_an_account_is_deleted_after_a_recent_sign_in_unless_an_organization_would_be_alone(
    client: httpx.AsyncClient, database: Database
):
    user_id = await add_user(database)
    _, grant_id = await add_session(database, user_id)
    _, stale_grant = await add_session(database, user_id, age=timedelta(hours=1))
    headers = bearer(user_id, grant_id=grant_id)
    organization = await create_organization(client)
    await add_member(database, organization["id"], user_id, "owner")
    stale = await client.delete("/v1/me", headers=bearer(user_id, grant_id=stale_grant))
    alone = await client.delete("/v1/me", headers=headers)
    await client.delete(f"/v1/organizations/{organization['id']}", headers=OPERATOR)
    done = await client.delete("/v1/me", headers=headers)
    assert outcome(stale) == (403, "recent_sign_in_required")
    assert outcome(alone) == (409, "sole_owner")
    assert alone.json()["organizations"] == [organization["id"]]
    assert done.status_code == 204
    assert ("user.deleted", user_id, user_id) in await happenings(database)


async def test_whoever_leaves_with_the_account_is_removed_from_organizations(
    client: httpx.AsyncClient, database: Database
):
    user_id, organization = await add_user(database), await create_organization(client)
    await add_member(database, organization["id"], user_id, "viewer")
    assert (await client.delete(f"/v1/users/{user_id}", headers=OPERATOR)).status_code == 204
    told = [(name, subject) for name, subject, _ in await happenings(database)]
    assert ("member.removed", user_id) in told
    assert ("user.deleted", user_id) in told


async def test_the_operator_lists_renames_disables_and_enables(client: httpx.AsyncClient, database: Database):
    user_id, _ = await add_user(database), await add_user(database, "eve@example.com")
    _, grant_id = await add_session(database, user_id)
    path = f"/v1/users/{user_id}"
    everybody = (await client.get("/v1/users", headers=OPERATOR)).json()["items"]
    found = (await client.get("/v1/users", params={"email": ADA.upper()}, headers=OPERATOR)).json()["items"]
    read = await client.get(path, headers=OPERATOR)
    renamed = await client.patch(path, json={"name": "A. L."}, headers=OPERATOR)
    stale = {**OPERATOR, "If-Match": read.headers["ETag"]}
    refused = [
        await client.patch(path, json={"name": "B"}, headers=stale),
        await client.delete(path, headers=stale),
    ]
    disabled = await client.patch(path, json={"isDisabled": True}, headers=OPERATOR)
    same = await client.patch(path, json={"isDisabled": True}, headers=OPERATOR)
    enabled = await client.patch(path, json={"isDisabled": False}, headers=OPERATOR)
    assert (len(everybody), [each["id"] for each in found]) == (2, [user_id])
    assert renamed.json()["name"] == "A. L."
    assert [outcome(answer) for answer in refused] == [(412, "precondition_failed")] * 2
    assert (disabled.json()["isDisabled"], enabled.json()["isDisabled"]) == (True, False)
    assert same.headers["ETag"] == disabled.headers["ETag"]
    names = [name for name, _, _ in await happenings(database)]
    assert names == ["user.updated", "session.ended", "grant.revoked", "user.disabled", "user.enabled"]
    assert grant_id


UNKNOWN = "/v1/users/usr_01h455vb4pex5vsknk084sn02q"


async def test_an_unknown_user_is_not_found(client: httpx.AsyncClient):
    answers = [
        await client.get(UNKNOWN, headers=OPERATOR),
        await client.patch(UNKNOWN, json={"name": "B"}, headers=OPERATOR),
        await client.delete(UNKNOWN, headers=OPERATOR),
    ]
    assert [outcome(answer) for answer in answers] == [(404, "user_not_found")] * 3


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/users", None),
        ("GET", UNKNOWN, None),
        ("PATCH", UNKNOWN, {"name": "A"}),
        ("DELETE", UNKNOWN, None),
        ("GET", "/v1/me", None),
        ("PATCH", "/v1/me", {"name": "A"}),
        ("DELETE", "/v1/me", None),
        ("POST", "/v1/me/password", {"currentPassword": "a", "newPassword": "b"}),
        ("POST", "/v1/me/email", {"email": ADA, "password": "a"}),
        ("GET", "/v1/me/memberships", None),
        ("POST", "/v1/me/totp", None),
        ("PUT", "/v1/me/totp", {"code": "1"}),
        ("POST", "/v1/me/totp/disable", {"totp": "1"}),
        ("POST", "/v1/me/totp/recovery-codes", {"totp": "1"}),
        ("POST", "/v1/me/passkeys/options", None),
        ("POST", "/v1/me/passkeys", {"name": "a", "state": "b", "credential": {}}),
        ("GET", "/v1/me/passkeys", None),
        ("PATCH", "/v1/me/passkeys/pky_01h455vb4pex5vsknk084sn02q", {"name": "a"}),
        ("DELETE", "/v1/me/passkeys/pky_01h455vb4pex5vsknk084sn02q", None),
        ("GET", "/v1/sessions", None),
        ("DELETE", "/v1/sessions", None),
        ("DELETE", "/v1/sessions/ses_01h455vb4pex5vsknk084sn02q", None),
        ("POST", "/v1/invitations/abc/accept", None),
    ],
)
async def test_nobody_and_a_too_narrow_scope_are_refused(
    client: httpx.AsyncClient, method: str, path: str, body: object
):
    narrow = await client.request(method, path, json=body, headers=caller("identity:read", "identity:write"))
    nobody = await client.request(method, path, json=body)
    assert outcome(narrow) == (403, "insufficient_scope")
    assert outcome(nobody) == (401, "unauthenticated")


async def test_a_link_that_two_use_at_once_works_for_one(replica: object, live_url: str):
    from services.identity.tests.conftest import client_of
    from services.identity.tests.factories import settings

    from undercroft.identity.dependencies.accounts import close_accounts
    from undercroft.identity.main import create_app, install, open_database

    app = create_app(settings(live_url))
    database = open_database(app.state.settings)
    install(app, database)
    async with client_of(app) as client:
        await confirmed(client, app)
        await client.post("/v1/password-resets", json={"email": ADA})
        (mail,) = await mails_of(app)
        path = f"/v1/password-resets/{token_in(mail)}"
        answers = await asyncio.gather(*(client.put(path, json={"password": NEW}) for _ in range(4)))
    await close_accounts(app)
    await database.dispose()
    assert sorted(answer.status_code for answer in answers) == [204, 404, 404, 404]


async def test_users_are_what_the_database_says(database: Database):
    user_id = await add_user(database)
    async with database.session() as session:
        (user,) = await session.scalars(select(User))
    assert user_id.startswith("usr_")
    assert (user.email_verified, user.has_password, user.recovery_codes_left) == (True, False, 0)
