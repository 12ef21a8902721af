"""Organizations over HTTP."""

from collections.abc import Mapping

import httpx
import pytest
from services.identity.tests.factories import (
    NO_ORGANIZATION,
    NO_ORGANIZATION_ID,
    OPERATOR,
    caller,
    create_key,
    create_organization,
    outcome,
    verify,
)
from sqlalchemy import select

from undercroft.identity.models.base import outbox
from undercroft.shared.db import Database
from undercroft.shared.ids import TypeId

PATH = "/v1/organizations"


async def events(database: Database) -> list[tuple[str, str, str]]:
    async with database.session() as session:
        rows = await session.execute(select(outbox).order_by(outbox.c.sequence))
        return [(row.type.removeprefix("dev.undercroft."), row.subject, row.actor) for row in rows]


def member_of(organization: dict[str, str], *scopes: str) -> Mapping[str, str]:
    return caller(*scopes, organization_id=TypeId.parse(organization["id"]).uuid)


async def test_a_new_organization_can_be_read_back(client: httpx.AsyncClient):
    created = await client.post(PATH, json={"name": "Acme", "externalKey": "crm-7"}, headers=OPERATOR)
    assert created.status_code == 201
    assert created.json()["externalKey"] == "crm-7"
    found = await client.get(created.headers["Location"], headers=OPERATOR)
    assert (found.status_code, found.json()) == (200, created.json())
    assert found.headers["ETag"] == created.headers["ETag"]


async def test_a_taken_external_key_is_a_conflict(client: httpx.AsyncClient):
    await create_organization(client, externalKey="crm-7")
    again = await client.post(PATH, json={"name": "Other", "externalKey": "crm-7"}, headers=OPERATOR)
    assert outcome(again) == (409, "external_key_taken")


async def test_many_organizations_may_lack_an_external_key(client: httpx.AsyncClient):
    await create_organization(client)
    assert (await create_organization(client))["externalKey"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a" * 201},
        {"name": "a\u0000b"},
        {"name": "line\nbreak"},
        {"name": 7},
        {"name": "Acme", "externalKey": ""},
        {"name": "Acme", "externalKey": "two words"},
        {"name": "Acme", "unknown": True},
    ],
)
async def test_a_body_with_wrong_members_is_refused(client: httpx.AsyncClient, body: dict[str, object]):
    assert outcome(await client.post(PATH, json=body, headers=OPERATOR)) == (422, "validation_failed")


async def test_a_repeated_request_with_the_same_idempotency_key_creates_once(client: httpx.AsyncClient):
    headers = {**OPERATOR, "Idempotency-Key": "once"}
    first = await client.post(PATH, json={"name": "Acme"}, headers=headers)
    second = await client.post(PATH, json={"name": "Acme"}, headers=headers)
    other = await client.post(PATH, json={"name": "Other"}, headers=headers)
    assert first.json() == second.json()
    assert outcome(other) == (422, "idempotency_key_reused")
    assert len((await client.get(PATH, headers=OPERATOR)).json()["items"]) == 1


async def test_organizations_are_listed_in_pages_oldest_first(client: httpx.AsyncClient):
    made = [(await create_organization(client, name=name))["id"] for name in ("a", "b", "c")]
    first = await client.get(PATH, params={"limit": 2}, headers=OPERATOR)
    cursor = first.json()["nextCursor"]
    second = await client.get(PATH, params={"limit": 2, "cursor": cursor}, headers=OPERATOR)
    assert [item["id"] for page in (first, second) for item in page.json()["items"]] == made
    assert second.json()["nextCursor"] is None
    assert 'rel="next"' in first.headers["Link"]


async def test_a_cursor_that_was_not_given_out_is_refused(client: httpx.AsyncClient):
    answer = await client.get(PATH, params={"cursor": "made-up"}, headers=OPERATOR)
    assert outcome(answer) == (400, "invalid_cursor")


async def test_a_member_lists_only_its_own_organization(client: httpx.AsyncClient):
    own = await create_organization(client)
    await create_organization(client, name="Other")
    listed = await client.get(PATH, headers=member_of(own, "identity:read"))
    assert [item["id"] for item in listed.json()["items"]] == [own["id"]]


async def test_a_key_of_the_operator_without_the_operator_scope_sees_no_organization(
    client: httpx.AsyncClient,
):
    made = await create_organization(client)
    headers = caller("identity:read")
    assert (await client.get(PATH, headers=headers)).json()["items"] == []
    assert outcome(await client.get(f"{PATH}/{made['id']}", headers=headers)) == (
        404,
        "organization_not_found",
    )


async def test_a_change_touches_only_what_it_names(client: httpx.AsyncClient):
    made = await create_organization(client, externalKey="crm-7")
    changed = await client.patch(f"{PATH}/{made['id']}", json={"name": "Acme Ltd"}, headers=OPERATOR)
    assert (changed.json()["name"], changed.json()["externalKey"]) == ("Acme Ltd", "crm-7")
    cleared = await client.patch(f"{PATH}/{made['id']}", json={"externalKey": None}, headers=OPERATOR)
    assert cleared.json()["externalKey"] is None


async def test_a_change_to_a_taken_external_key_is_a_conflict(client: httpx.AsyncClient):
    await create_organization(client, externalKey="crm-7")
    made = await create_organization(client)
    answer = await client.patch(f"{PATH}/{made['id']}", json={"externalKey": "crm-7"}, headers=OPERATOR)
    assert outcome(answer) == (409, "external_key_taken")


@pytest.mark.parametrize("body", [{"name": None}, {"name": ""}, {"id": NO_ORGANIZATION_ID}])
async def test_a_wrong_change_is_refused(client: httpx.AsyncClient, body: dict[str, object]):
    made = await create_organization(client)
    answer = await client.patch(f"{PATH}/{made['id']}", json=body, headers=OPERATOR)
    assert outcome(answer) == (422, "validation_failed")


async def test_a_change_that_changes_nothing_keeps_the_etag_and_tells_nobody(
    client: httpx.AsyncClient, database: Database
):
    made = await client.post(PATH, json={"name": "Acme"}, headers=OPERATOR)
    same = await client.patch(made.headers["Location"], json={"name": "Acme"}, headers=OPERATOR)
    assert same.headers["ETag"] == made.headers["ETag"]
    assert [name for name, _, _ in await events(database)] == ["organization.created"]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_stale_etag_is_refused(client: httpx.AsyncClient, method: str):
    made = await client.post(PATH, json={"name": "Acme"}, headers=OPERATOR)
    path, stale = made.headers["Location"], made.headers["ETag"]
    await client.patch(path, json={"name": "Newer"}, headers=OPERATOR)
    body = {"name": "Newest"} if method == "PATCH" else None
    answer = await client.request(method, path, json=body, headers={**OPERATOR, "If-Match": stale})
    assert outcome(answer) == (412, "precondition_failed")


async def test_the_current_etag_is_accepted(client: httpx.AsyncClient):
    made = await client.post(PATH, json={"name": "Acme"}, headers=OPERATOR)
    headers = {**OPERATOR, "If-Match": made.headers["ETag"]}
    assert (
        await client.patch(made.headers["Location"], json={"name": "B"}, headers=headers)
    ).status_code == 200


async def test_a_deleted_organization_takes_its_keys_with_it(client: httpx.AsyncClient):
    made = await create_organization(client)
    key = await create_key(client, f"{PATH}/{made['id']}/api-keys")
    deleted = await client.delete(f"{PATH}/{made['id']}", headers=OPERATOR)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert outcome(await client.get(f"{PATH}/{made['id']}", headers=OPERATOR)) == (
        404,
        "organization_not_found",
    )
    assert outcome(await verify(client, key["secret"])) == (404, "api_key_invalid")


async def test_every_change_is_told_with_its_actor(client: httpx.AsyncClient, database: Database):
    made = await create_organization(client)
    await client.patch(f"{PATH}/{made['id']}", json={"name": "B"}, headers=OPERATOR)
    await client.delete(f"{PATH}/{made['id']}", headers=OPERATOR)
    actor = "key_01h455vb4pex5vsknk084sn02q"
    assert await events(database) == [
        (f"organization.{happening}", made["id"], actor) for happening in ("created", "updated", "deleted")
    ]


async def test_an_unknown_organization_is_not_found(client: httpx.AsyncClient):
    path = f"{PATH}/{NO_ORGANIZATION_ID}"
    answers = [
        await client.get(path, headers=OPERATOR),
        await client.patch(path, json={"name": "B"}, headers=OPERATOR),
        await client.delete(path, headers=OPERATOR),
    ]
    assert [outcome(answer) for answer in answers] == [(404, "organization_not_found")] * 3


async def test_an_identifier_of_another_kind_is_refused(client: httpx.AsyncClient):
    assert outcome(await client.get(f"{PATH}/usr_01h455vb4pex5vsknk084sn02q", headers=OPERATOR))[0] == 422


async def test_somebody_elses_organization_is_not_found(client: httpx.AsyncClient):
    path = f"{PATH}/{(await create_organization(client))['id']}"
    stranger = caller("identity:read", "identity:write", organization_id=NO_ORGANIZATION)
    answers = [
        await client.get(path, headers=stranger),
        await client.patch(path, json={"name": "Mine"}, headers=stranger),
    ]
    assert [outcome(answer) for answer in answers] == [(404, "organization_not_found")] * 2


async def test_a_member_reads_and_changes_its_own_organization(client: httpx.AsyncClient):
    made = await create_organization(client)
    path, member = f"{PATH}/{made['id']}", member_of(made, "identity:read", "identity:write")
    assert (await client.get(path, headers=member)).status_code == 200
    assert (await client.patch(path, json={"name": "B"}, headers=member)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scopes"),
    [
        ("POST", PATH, ("identity:read", "identity:write")),
        ("GET", PATH, ("identity:write",)),
        ("GET", f"{PATH}/{NO_ORGANIZATION_ID}", ("identity:write",)),
        ("PATCH", f"{PATH}/{NO_ORGANIZATION_ID}", ("identity:read",)),
        ("DELETE", f"{PATH}/{NO_ORGANIZATION_ID}", ("identity:read",)),
    ],
)
async def test_a_too_narrow_scope_and_no_caller_at_all_are_refused(
    client: httpx.AsyncClient, method: str, path: str, scopes: tuple[str, ...]
):
    body = {"name": "Acme"} if method in {"POST", "PATCH"} else None
    narrow = caller(*scopes, organization_id=NO_ORGANIZATION)
    assert outcome(await client.request(method, path, json=body, headers=narrow)) == (
        403,
        "insufficient_scope",
    )
    assert outcome(await client.request(method, path, json=body)) == (401, "unauthenticated")
