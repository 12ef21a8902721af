"""What the subject of a token may do now, as the gateway asks."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from services.identity.tests.factories import (
    GATEWAY,
    NO_ORGANIZATION,
    OPERATOR,
    create_key,
    outcome,
)
from services.identity.tests.rows import add_grant, add_organization, add_session, add_user
from sqlalchemy import delete, update

from undercroft.identity.models.oauth import OAuthClient, RevokedToken
from undercroft.identity.models.organizations import Membership
from undercroft.identity.models.sessions import Grant, Session
from undercroft.identity.models.users import User
from undercroft.shared.db import Database
from undercroft.shared.ids import TypeId, new_uuid7

ACCESS = "/internal/access"
NOW = datetime.now(UTC)


async def ask(
    client: httpx.AsyncClient,
    subject: str,
    *,
    grant_id: UUID | None = None,
    organization_id: UUID | None = None,
) -> httpx.Response:
    body: dict[str, str] = {"subject": subject, "tokenId": "jti"}
    if grant_id is not None:
        body["grantId"] = str(TypeId("grt", grant_id))
    if organization_id is not None:
        body["organizationId"] = str(TypeId("org", organization_id))
    return await client.post(ACCESS, json=body, headers=GATEWAY)


def usr(user_id: UUID) -> str:
    return str(TypeId("usr", user_id))


async def add_client(database: Database, **values: object) -> UUID:
    client_id = new_uuid7()
    members: dict[str, object] = {
        "name": "CI",
        "type": "confidential",
        "token_endpoint_auth_method": "client_secret_basic",
        "redirect_uris": [],
        "grant_types": ["client_credentials"],
        "scopes": ["identity:read"],
        "id_token_signed_response_alg": "RS256",
        "created_by": "tests",
        **values,
    }
    async with database.begin() as session:
        session.add(OAuthClient(id=client_id, **members))
    return client_id


async def revoke(database: Database) -> None:
    async with database.begin() as session:
        session.add(RevokedToken(jti="jti", expires_at=NOW + timedelta(hours=1)))


@pytest.fixture
async def user(database: Database) -> UUID:
    return await add_user(database)


async def test_somebody_may_do_what_their_role_allows(
    client: httpx.AsyncClient, database: Database, user: UUID
):
    organization = await add_organization(database, user, "viewer")
    grant = await add_grant(database, user)
    answer = await ask(client, usr(user), grant_id=grant)
    assert answer.json() == {
        "kind": "user",
        "organizationId": str(TypeId("org", organization)),
        "scopes": ["identity:read", "usage:read", "webhooks:read"],
        "environment": None,
        "allowedCidrs": [],
    }


async def test_own_sign_in_serves_every_membership_and_first_the_oldest(
    client: httpx.AsyncClient, database: Database, user: UUID
):
    first, second = [await add_organization(database, user, role) for role in ("viewer", "owner")]
    async with database.begin() as session:
        statement = update(Membership).where(Membership.organization_id == first)
        await session.execute(statement.values(created_at=NOW - timedelta(days=1)))
    grant = await add_grant(database, user)
    anywhere = (await ask(client, usr(user), grant_id=grant)).json()
    elsewhere = (await ask(client, usr(user), grant_id=grant, organization_id=second)).json()
    assert anywhere["organizationId"] == str(TypeId("org", first))
    assert elsewhere["organizationId"] == str(TypeId("org", second))
    assert "identity:write" in elsewhere["scopes"]


async def test_somebody_in_no_organization_may_do_nothing_in_any(
    client: httpx.AsyncClient, database: Database, user: UUID
):
    grant = await add_grant(database, user)
    answer = (await ask(client, usr(user), grant_id=grant)).json()
    assert (answer["organizationId"], answer["scopes"]) == (None, [])
    other = await add_organization(database)
    refused = await ask(client, usr(user), grant_id=grant, organization_id=other)
    assert outcome(refused) == (404, "organization_not_found")


async def test_a_grant_of_a_client_serves_only_its_organization(
    client: httpx.AsyncClient, database: Database, user: UUID
):
    bound, other = [await add_organization(database, user) for _ in range(2)]
    grant = await add_grant(database, user, client_id=await add_client(database), organization_id=bound)
    served = await ask(client, usr(user), grant_id=grant)
    assert served.json()["organizationId"] == str(TypeId("org", bound))
    assert (await ask(client, usr(user), grant_id=grant, organization_id=bound)).status_code == 200
    refused = await ask(client, usr(user), grant_id=grant, organization_id=other)
    assert outcome(refused) == (404, "organization_not_found")


async def test_a_grant_of_a_client_never_serves_another_organization_by_itself(
    client: httpx.AsyncClient, database: Database, user: UUID
):
    await add_organization(database, user)
    for bound in (None, await add_organization(database)):
        grant = await add_grant(database, user, client_id=await add_client(database), organization_id=bound)
        answer = (await ask(client, usr(user), grant_id=grant)).json()
        assert (answer["organizationId"], answer["scopes"]) == (None, [])


@pytest.mark.parametrize("ended", ["disabled", "grant", "expired", "session", "token", "other", "none"])
async def test_access_ends_with_what_it_was_issued_for(
    client: httpx.AsyncClient, database: Database, user: UUID, ended: str
):
    device = await add_session(database, user)
    grant = await add_grant(database, user, session_id=device)
    assert (await ask(client, usr(user), grant_id=grant)).status_code == 200
    statement = {
        "disabled": update(User).values(disabled_at=NOW),
        "grant": delete(Grant),
        "expired": update(Grant).values(expires_at=NOW),
        "session": update(Session).values(expires_at=NOW),
        "token": None,
        "other": None,
        "none": None,
    }[ended]
    async with database.begin() as session:
        if statement is not None:
            await session.execute(statement)
    if ended == "token":
        await revoke(database)
    subject = usr(new_uuid7()) if ended == "other" else usr(user)
    answer = await ask(client, subject, grant_id=None if ended == "none" else grant)
    assert outcome(answer) == (404, "access_ended")


async def test_a_key_opens_for_derived_tokens_what_it_opens_itself(client: httpx.AsyncClient):
    key = await create_key(
        client, scopes=["flags:evaluate"], environment="production", allowedCidrs=["192.0.2.0/24"]
    )
    answer = (await ask(client, key["id"])).json()
    assert answer == {
        "kind": "api_key",
        "organizationId": None,
        "scopes": ["flags:evaluate"],
        "environment": "production",
        "allowedCidrs": ["192.0.2.0/24"],
    }
    await client.delete(f"/v1/api-keys/{key['id']}", headers=OPERATOR)
    assert outcome(await ask(client, key["id"])) == (404, "access_ended")


async def test_derived_tokens_end_with_their_key_or_by_themselves(
    client: httpx.AsyncClient, database: Database
):
    expired = await create_key(client, expiresAt=(NOW + timedelta(days=1)).isoformat())
    async with database.begin() as session:
        from undercroft.identity.models.api_keys import ApiKey

        await session.execute(update(ApiKey).values(expires_at=NOW))
    assert outcome(await ask(client, expired["id"])) == (404, "access_ended")
    key = await create_key(client, scopes=["operator"])
    assert (await ask(client, key["id"], organization_id=NO_ORGANIZATION)).json()["kind"] == "operator"
    await revoke(database)
    assert outcome(await ask(client, key["id"])) == (404, "access_ended")


async def test_a_client_may_do_what_it_is_registered_for_in_its_own_organization(
    client: httpx.AsyncClient, database: Database
):
    organization = await add_organization(database)
    row = await add_client(database, organization_id=organization)
    subject = str(TypeId("client", row))
    answer = (await ask(client, subject, organization_id=organization)).json()
    assert (answer["kind"], answer["scopes"]) == ("client", ["identity:read"])
    other = await ask(client, subject, organization_id=NO_ORGANIZATION)
    assert outcome(other) == (404, "organization_not_found")
    await revoke(database)
    assert outcome(await ask(client, subject)) == (404, "access_ended")


@pytest.mark.parametrize("subject", ["", "nobody", str(TypeId.new("org")), str(TypeId.new("client"))])
async def test_an_unknown_subject_has_no_access(client: httpx.AsyncClient, subject: str):
    assert outcome(await ask(client, subject)) == (404, "access_ended")


async def test_only_other_deployables_ask(client: httpx.AsyncClient):
    body = {"subject": "usr_x", "tokenId": "jti"}
    assert outcome(await client.post(ACCESS, json=body)) == (401, "unauthenticated")
    assert outcome(await client.post(ACCESS, json=body, headers=OPERATOR)) == (404, "not_found")
