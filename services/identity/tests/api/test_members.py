"""Members and invitations: roles, the last owner, links, and who may see what."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from services.identity.tests.conftest import client_of
from services.identity.tests.factories import (
    NO_ORGANIZATION,
    NO_ORGANIZATION_ID,
    OPERATOR,
    caller,
    create_organization,
    outcome,
    settings,
)
from services.identity.tests.people import (
    ADA,
    PASSWORD,
    add_member,
    add_user,
    bearer,
    happenings,
    mails_of,
    sign_in,
    text_of,
    token_in,
    uuid_of,
)

from undercroft.identity.dependencies.accounts import close_accounts
from undercroft.identity.main import create_app, install, open_database
from undercroft.shared.db import Database

EVE = "eve@example.com"


class Team:
    """An organization with a member of each role."""

    def __init__(self, organization_id: str, people: dict[str, str]) -> None:
        self.id = organization_id
        self.people = people
        self.members = f"/v1/organizations/{organization_id}/members"
        self.invitations = f"/v1/organizations/{organization_id}/invitations"

    def __getitem__(self, role: str) -> str:
        return f"{self.members}/{self.people[role]}"

    def headers(self, role: str) -> dict[str, str]:
        scopes = ("account", "identity:read") + (("identity:write",) if role in {"owner", "admin"} else ())
        return dict(bearer(self.people[role], *scopes, organization_id=self.id))


async def make_team(client: httpx.AsyncClient, database: Database) -> Team:
    organization = await create_organization(client)
    people = {}
    for role in ("owner", "admin", "developer", "viewer"):
        people[role] = await add_user(database, f"{role}@example.com")
        await add_member(database, organization["id"], people[role], role)
    return Team(organization["id"], people)


@pytest.fixture
async def team(client: httpx.AsyncClient, database: Database) -> Team:
    return await make_team(client, database)


@pytest.fixture
async def live(live_url: str) -> AsyncIterator[FastAPI]:
    """An application on a database in which requests really run at the same time."""
    app = create_app(settings(live_url))
    install(app, open_database(app.state.settings))
    yield app
    await close_accounts(app)
    await app.state.database.dispose()


async def test_members_are_listed_with_their_roles(client: httpx.AsyncClient, team: Team):
    items = (await client.get(team.members, headers=team.headers("viewer"))).json()["items"]
    assert {each["userId"]: each["role"] for each in items} == {
        user: role for role, user in team.people.items()
    }
    assert items[0]["email"].endswith("@example.com")


async def test_a_role_is_changed_and_told(client: httpx.AsyncClient, team: Team, database: Database):
    headers = team.headers("admin")
    read = await client.get(team["viewer"], headers=headers)
    changed = await client.patch(team["viewer"], json={"role": "developer"}, headers=headers)
    same = await client.patch(team["viewer"], json={"role": "developer"}, headers=headers)
    stale = await client.patch(
        team["viewer"], json={"role": "viewer"}, headers={**headers, "If-Match": read.headers["ETag"]}
    )
    assert (changed.status_code, changed.json()["role"]) == (200, "developer")
    assert same.headers["ETag"] == changed.headers["ETag"]
    assert outcome(stale) == (412, "precondition_failed")
    assert (await happenings(database))[-1] == (
        "member.role_changed",
        team.people["viewer"],
        team.people["admin"],
    )


async def test_only_owners_appoint_and_remove_owners(client: httpx.AsyncClient, team: Team):
    admin = team.headers("admin")
    refused = [
        await client.patch(team["viewer"], json={"role": "owner"}, headers=admin),
        await client.patch(team["owner"], json={"role": "viewer"}, headers=admin),
        await client.delete(team["owner"], headers=admin),
        await client.post(team.invitations, json={"email": EVE, "role": "owner"}, headers=admin),
        await client.delete(f"/v1/organizations/{team.id}", headers=admin),
    ]
    key = caller("identity:read", "identity:write", organization_id=uuid_of(team.id))
    refused.append(await client.patch(team["viewer"], json={"role": "owner"}, headers=key))
    assert [outcome(answer) for answer in refused] == [(403, "owner_required")] * 6
    by_owner = await client.patch(team["viewer"], json={"role": "owner"}, headers=team.headers("owner"))
    by_operator = await client.patch(team["admin"], json={"role": "owner"}, headers=OPERATOR)
    assert (by_owner.status_code, by_operator.status_code) == (200, 200)


async def test_the_last_owner_stays(client: httpx.AsyncClient, team: Team):
    owner = team.headers("owner")
    refused = [
        await client.patch(team["owner"], json={"role": "admin"}, headers=owner),
        await client.delete(team["owner"], headers=owner),
        await client.delete(team["owner"], headers=OPERATOR),
    ]
    assert [outcome(answer) for answer in refused] == [(409, "last_owner")] * 3


async def test_everybody_may_leave_and_writers_may_remove(
    client: httpx.AsyncClient, team: Team, database: Database
):
    others = await client.delete(team["developer"], headers=team.headers("viewer"))
    left = await client.delete(team["viewer"], headers=team.headers("viewer"))
    removed = await client.delete(team["developer"], headers=team.headers("admin"))
    gone = await client.delete(team["developer"], headers=team.headers("admin"))
    assert outcome(others) == (403, "insufficient_scope")
    assert (left.status_code, removed.status_code) == (204, 204)
    assert outcome(gone) == (404, "member_not_found")
    assert ("member.removed", team.people["viewer"], team.people["viewer"]) in await happenings(database)


async def test_whoever_was_removed_a_moment_ago_appoints_nobody(client: httpx.AsyncClient, team: Team):
    admin = team.headers("admin")
    await client.delete(team["admin"], headers=OPERATOR)
    answer = await client.patch(team["viewer"], json={"role": "owner"}, headers=admin)
    assert outcome(answer) == (404, "member_not_found")


async def test_of_two_owners_who_leave_at_once_one_remains(live: FastAPI):
    async with client_of(live) as client:
        team = await make_team(client, live.state.database)
        await client.patch(team["admin"], json={"role": "owner"}, headers=OPERATOR)
        for _ in range(3):
            answers = await asyncio.gather(
                *(client.delete(team[role], headers=team.headers(role)) for role in ("owner", "admin"))
            )
            assert sorted(answer.status_code for answer in answers) in ([204, 409], [404, 409])
        items = (await client.get(team.members, headers=OPERATOR)).json()["items"]
    assert [each["role"] for each in items].count("owner") == 1


async def invite(
    client: httpx.AsyncClient, team: Team, email: str = EVE, role: str = "developer"
) -> httpx.Response:
    return await client.post(
        team.invitations, json={"email": email, "role": role}, headers=team.headers("owner")
    )


async def test_an_invitation_is_accepted_by_whoever_has_the_address(
    client: httpx.AsyncClient, app: FastAPI, team: Team, database: Database
):
    eve, other = await add_user(database, EVE), await add_user(database)
    invited = await invite(client, team)
    (mail,) = await mails_of(app)
    path = f"/v1/invitations/{token_in(mail)}"
    seen = (await client.get(path)).json()
    refused = await client.post(f"{path}/accept", headers=bearer(other))
    accepted = await client.post(f"{path}/accept", headers=bearer(eve))
    again = await client.post(f"{path}/accept", headers=bearer(eve))
    assert (invited.status_code, mail["To"], "Ada Lovelace invites you" in text_of(mail)) == (201, EVE, True)
    assert (seen["organizationName"], seen["role"], seen["hasAccount"]) == ("Acme", "developer", True)
    assert outcome(refused) == (403, "other_address_invited")
    assert accepted.json() == {"organizationId": team.id, "role": "developer"}
    assert outcome(again) == (404, "invitation_not_found")
    told = await happenings(database)
    assert ("invitation.accepted", invited.json()["id"], eve) in told
    assert ("member.added", eve, eve) in told


async def test_an_invitation_is_accepted_by_registering_with_it(
    client: httpx.AsyncClient, app: FastAPI, team: Team
):
    await invite(client, team)
    (mail,) = await mails_of(app)
    body = {"email": EVE, "name": "Eve", "password": PASSWORD, "invitation": token_in(mail)}
    other = await client.post("/v1/users", json={**body, "email": ADA})
    founding = await client.post("/v1/users", json={**body, "organization": {"name": "Mine"}})
    done = await client.post("/v1/users", json=body)
    again = await client.post("/v1/users", json=body)
    assert outcome(other) == (403, "other_address_invited")
    assert founding.json()["errors"][0]["code"] == "not_with_invitation"
    assert (done.status_code, done.json()["emailVerified"]) == (201, True)
    assert outcome(again) == (404, "invitation_not_found")
    assert (await sign_in(client, EVE)).status_code == 201


async def test_registering_with_the_invitation_of_a_known_address_says_so(
    client: httpx.AsyncClient, app: FastAPI, team: Team, database: Database
):
    await invite(client, team)
    (mail,) = await mails_of(app)
    await add_user(database, EVE)
    body = {"email": EVE, "name": "Eve", "password": PASSWORD, "invitation": token_in(mail)}
    assert outcome(await client.post("/v1/users", json=body)) == (409, "email_taken")


async def test_invitations_are_listed_withdrawn_and_sent_again(
    client: httpx.AsyncClient, app: FastAPI, team: Team
):
    headers = team.headers("admin")
    invited = (await invite(client, team)).json()
    (first,) = await mails_of(app)
    path = f"{team.invitations}/{invited['id']}"
    listed = (await client.get(team.invitations, headers=headers)).json()["items"]
    again = await client.post(f"{path}/resend", headers=headers)
    (second,) = await mails_of(app)
    stale = await client.get(f"/v1/invitations/{token_in(first)}")
    withdrawn = await client.delete(path, headers=headers)
    gone = await client.delete(path, headers=headers)
    assert [each["id"] for each in listed] == [invited["id"]]
    assert (again.status_code, withdrawn.status_code) == (200, 204)
    assert outcome(stale) == (404, "invitation_not_found")
    assert outcome(await client.get(f"/v1/invitations/{token_in(second)}")) == (404, "invitation_not_found")
    assert outcome(gone) == (404, "invitation_not_found")
    assert outcome(await client.get("/v1/invitations/nonsense")) == (404, "invitation_not_found")


async def test_members_and_the_invited_are_not_invited_again(
    client: httpx.AsyncClient, team: Team, app: FastAPI
):
    await invite(client, team)
    assert outcome(await invite(client, team, EVE.upper())) == (409, "already_invited")
    assert outcome(await invite(client, team, "viewer@example.com")) == (409, "already_member")


async def test_invitations_are_bounded(client: httpx.AsyncClient, app: FastAPI, team: Team):
    app.state.settings = app.state.settings.model_copy(update={"max_invitations": 1})
    await invite(client, team)
    assert outcome(await invite(client, team, "x@example.com")) == (409, "invitation_limit_reached")


async def test_of_two_who_accept_at_once_one_joins(live: FastAPI):
    async with client_of(live) as client:
        team = await make_team(client, live.state.database)
        eve = await add_user(live.state.database, EVE)
        await invite(client, team)
        (mail,) = await mails_of(live)
        path = f"/v1/invitations/{token_in(mail)}/accept"
        answers = await asyncio.gather(*(client.post(path, headers=bearer(eve)) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]


async def test_a_person_founds_lists_and_deletes_organizations(client: httpx.AsyncClient, database: Database):
    user_id = await add_user(database)
    made = await client.post("/v1/organizations", json={"name": "Mine"}, headers=bearer(user_id, "account"))
    await create_organization(client)
    listed = (await client.get("/v1/organizations", headers=bearer(user_id, "account"))).json()["items"]
    key = await client.post(
        "/v1/organizations", json={"name": "A", "externalKey": "crm"}, headers=bearer(user_id)
    )
    owner = bearer(user_id, organization_id=made.json()["id"])
    deleted = await client.delete(f"/v1/organizations/{made.json()['id']}", headers=owner)
    assert made.status_code == 201
    assert [each["name"] for each in listed] == ["Mine"]
    assert key.json()["errors"][0]["code"] == "operator_only"
    assert deleted.status_code == 204


async def test_who_may_not_found_an_organization(client: httpx.AsyncClient, app: FastAPI, database: Database):
    user_id = await add_user(database)
    body = {"name": "A"}
    by_key = await client.post("/v1/organizations", json=body, headers=caller("account"))
    app.state.settings = app.state.settings.model_copy(update={"organization_creation": "closed"})
    closed = await client.post("/v1/organizations", json=body, headers=bearer(user_id))
    assert outcome(by_key) == (403, "not_a_person")
    assert outcome(closed) == (403, "operator_required")


NOBODY = "usr_01h455vb4pex5vsknk084sn02q"
INVITATION = "inv_01h455vb4pex5vsknk084sn02q"
ROUTES = [
    ("GET", "/members", None, "identity:read"),
    ("GET", f"/members/{NOBODY}", None, "identity:read"),
    ("PATCH", f"/members/{NOBODY}", {"role": "viewer"}, "identity:write"),
    ("DELETE", f"/members/{NOBODY}", None, "identity:read"),
    ("GET", "/invitations", None, "identity:read"),
    ("POST", "/invitations", {"email": EVE}, "identity:write"),
    ("DELETE", f"/invitations/{INVITATION}", None, "identity:write"),
    ("POST", f"/invitations/{INVITATION}/resend", None, "identity:write"),
]


@pytest.mark.parametrize(("method", "path", "body", "scope"), ROUTES)
async def test_strangers_nobody_and_narrow_scopes_see_nothing(
    client: httpx.AsyncClient, method: str, path: str, body: object, scope: str
):
    made = await create_organization(client)
    whole = f"/v1/organizations/{made['id']}{path}"
    stranger = caller("identity:read", "identity:write", organization_id=NO_ORGANIZATION)
    narrow = caller("usage:read", organization_id=uuid_of(made["id"]))
    assert outcome(await client.request(method, whole, json=body, headers=stranger)) == (
        404,
        "organization_not_found",
    )
    assert outcome(await client.request(method, whole, json=body, headers=narrow)) == (
        403,
        "insufficient_scope",
    )
    assert outcome(await client.request(method, whole, json=body)) == (401, "unauthenticated")
    missing = f"/v1/organizations/{NO_ORGANIZATION_ID}{path}"
    assert (await client.request(method, missing, json=body, headers=OPERATOR)).status_code == 404
    del scope
