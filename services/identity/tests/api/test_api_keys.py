"""API keys of organizations and of the operator over HTTP."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from services.identity.tests.factories import (
    NO_KEY_ID,
    NO_ORGANIZATION,
    NO_ORGANIZATION_ID,
    OPERATOR,
    caller,
    create_key,
    create_organization,
    outcome,
    verify,
)
from sqlalchemy import select, update

from undercroft.identity.models.api_keys import ApiKey
from undercroft.identity.models.base import outbox
from undercroft.shared.db import Database
from undercroft.shared.ids import TypeId

OPERATOR_KEYS = "/v1/api-keys"
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).isoformat()
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.fixture
async def organization(client: httpx.AsyncClient) -> UUID:
    return TypeId.parse((await create_organization(client))["id"]).uuid


@pytest.fixture
def keys_path(organization: UUID) -> str:
    return f"/v1/organizations/{TypeId('org', organization)}/api-keys"


def body(**members: object) -> dict[str, object]:
    return {"name": "CI", "scopes": ["identity:read"], **members}


async def test_the_secret_is_shown_once(client: httpx.AsyncClient, keys_path: str):
    created = await client.post(keys_path, json=body(), headers=OPERATOR)
    found = await client.get(f"{keys_path}/{created.json()['id']}", headers=OPERATOR)
    assert created.status_code == 201
    assert created.headers["Cache-Control"] == "no-store"
    assert created.json()["secret"].startswith(created.json()["prefix"] + "_")
    assert found.json() == {name: value for name, value in created.json().items() if name != "secret"}
    assert found.headers["ETag"] == created.headers["ETag"]


async def test_a_new_key_is_found_where_location_says(client: httpx.AsyncClient, keys_path: str):
    for path in (keys_path, OPERATOR_KEYS):
        created = await client.post(path, json=body(), headers=OPERATOR)
        found = await client.get(created.headers["Location"], headers=OPERATOR)
        assert found.json()["id"] == created.json()["id"]


async def test_only_a_hash_of_the_secret_is_stored(
    client: httpx.AsyncClient, database: Database, keys_path: str
):
    secret = (await create_key(client, keys_path))["secret"]
    async with database.session() as session:
        row = (await session.execute(select(ApiKey.__table__))).one()
        told = (await session.execute(select(outbox))).all()
    assert secret.rsplit("_", 1)[1] not in f"{row}{told}"
    assert len(row.secret_hash) == 32


async def test_a_key_of_an_organization_opens_what_it_was_given(
    client: httpx.AsyncClient, keys_path: str, organization: UUID
):
    key = await create_key(
        client,
        keys_path,
        scopes=["usage:ingest", "flags:evaluate", "flags:evaluate"],
        environment="production",
        allowedCidrs=["10.1.2.3/8", "10.0.0.0/8", "192.0.2.1"],
        expiresAt=TOMORROW,
    )
    verified = (await verify(client, key["secret"])).json()
    assert verified == {
        "keyId": key["id"],
        "kind": "api_key",
        "organizationId": str(TypeId("org", organization)),
        "scopes": ["flags:evaluate", "usage:ingest"],
        "environment": "production",
        "expiresAt": key["expiresAt"],
        "allowedCidrs": ["10.0.0.0/8", "192.0.2.1/32"],
        "plan": None,
    }


async def test_a_key_of_the_operator_belongs_to_no_organization(client: httpx.AsyncClient):
    key = await create_key(client, scopes=["operator"])
    verified = (await verify(client, key["secret"])).json()
    assert (verified["kind"], verified["organizationId"], verified["scopes"]) == (
        "operator",
        None,
        ["operator"],
    )


@pytest.mark.parametrize(
    ("members", "pointer", "code"),
    [
        ({"scopes": []}, "#/scopes", "too_short"),
        ({"scopes": ["everything"]}, "#/scopes/0", "enum"),
        ({"scopes": ["identity:read", "operator"]}, "#/scopes/1", "scope_not_allowed"),
        ({"scopes": ["flags:read"]}, "#/scopes/0", "scope_not_allowed"),
        ({"scopes": ["flags:write"]}, "#/scopes/0", "scope_not_allowed"),
        ({"expiresAt": YESTERDAY}, "#/expiresAt", "not_in_future"),
        ({"expiresAt": "2999-01-01T00:00:00"}, "#/expiresAt", "timezone_aware"),
        ({"allowedCidrs": ["10.0.0.0/8", "localhost"]}, "#/allowedCidrs/1", "network"),
        ({"environment": "Production"}, "#/environment", "string_pattern_mismatch"),
        ({"name": ""}, "#/name", "string_too_short"),
        ({"secret": "mine"}, "#/secret", "extra_forbidden"),
    ],
)
async def test_a_wrong_member_is_named(
    client: httpx.AsyncClient, keys_path: str, members: dict[str, object], pointer: str, code: str
):
    answer = await client.post(keys_path, json=body(**members), headers=OPERATOR)
    assert outcome(answer) == (422, "validation_failed")
    assert [(each["pointer"], each["code"]) for each in answer.json()["errors"]] == [(pointer, code)]


async def test_nobody_hands_on_a_scope_that_they_do_not_hold(
    client: httpx.AsyncClient, keys_path: str, organization: UUID
):
    writer = caller("identity:write", "usage:read", organization_id=organization)
    allowed = await client.post(keys_path, json=body(scopes=["usage:read"]), headers=writer)
    refused = await client.post(keys_path, json=body(scopes=["usage:read", "usage:write"]), headers=writer)
    assert allowed.status_code == 201
    assert outcome(refused) == (403, "scope_not_held")


async def test_a_caller_bound_to_an_environment_hands_on_only_that(
    client: httpx.AsyncClient, keys_path: str, organization: UUID
):
    bound = caller("identity:write", "flags:evaluate", organization_id=organization, environment="staging")
    same = body(scopes=["flags:evaluate"], environment="staging")
    assert (await client.post(keys_path, json=same, headers=bound)).status_code == 201
    for environment in ("production", None):
        other = body(scopes=["flags:evaluate"], environment=environment)
        answer = await client.post(keys_path, json=other, headers=bound)
        assert outcome(answer) == (403, "environment_not_held")


@pytest.mark.parametrize("path_of", ["organization", "operator"])
async def test_the_number_of_keys_of_one_owner_is_bounded(
    client: httpx.AsyncClient, keys_path: str, path_of: str
):
    path = keys_path if path_of == "organization" else OPERATOR_KEYS
    for _ in range(3):
        await create_key(client, path)
    answer = await client.post(path, json=body(), headers=OPERATOR)
    assert outcome(answer) == (409, "api_key_limit_reached")


async def test_a_repeated_creation_returns_the_same_secret(client: httpx.AsyncClient, keys_path: str):
    headers = {**OPERATOR, "Idempotency-Key": "once"}
    first = await client.post(keys_path, json=body(), headers=headers)
    second = await client.post(keys_path, json=body(), headers=headers)
    assert first.json() == second.json()
    assert len((await client.get(keys_path, headers=OPERATOR)).json()["items"]) == 1


async def test_each_owner_sees_its_own_keys_oldest_first(client: httpx.AsyncClient, keys_path: str):
    own = [(await create_key(client, keys_path, name=name))["id"] for name in ("a", "b", "c")]
    operators = await create_key(client)
    first = await client.get(keys_path, params={"limit": 2}, headers=OPERATOR)
    cursor = first.json()["nextCursor"]
    second = await client.get(keys_path, params={"limit": 2, "cursor": cursor}, headers=OPERATOR)
    listed = await client.get(OPERATOR_KEYS, headers=OPERATOR)
    assert [item["id"] for page in (first, second) for item in page.json()["items"]] == own
    assert [item["id"] for item in listed.json()["items"]] == [operators["id"]]
    assert '"secret":' not in first.text


async def test_a_key_is_not_found_under_another_owner(client: httpx.AsyncClient, keys_path: str):
    operators, organizations = await create_key(client), await create_key(client, keys_path)
    answers = [
        await client.get(f"{keys_path}/{operators['id']}", headers=OPERATOR),
        await client.get(f"{OPERATOR_KEYS}/{organizations['id']}", headers=OPERATOR),
        await client.delete(f"{OPERATOR_KEYS}/{organizations['id']}", headers=OPERATOR),
    ]
    assert [outcome(answer) for answer in answers] == [(404, "api_key_not_found")] * 3


async def test_a_change_touches_only_what_it_names(client: httpx.AsyncClient, keys_path: str):
    key = await create_key(client, keys_path, allowedCidrs=["10.0.0.0/8"], expiresAt=TOMORROW)
    path = f"{keys_path}/{key['id']}"
    changes = {"name": "Deploy", "scopes": ["usage:ingest", "identity:read"], "expiresAt": None}
    changed = (await client.patch(path, json=changes, headers=OPERATOR)).json()
    assert (changed["name"], changed["scopes"]) == ("Deploy", ["identity:read", "usage:ingest"])
    assert (changed["expiresAt"], changed["allowedCidrs"]) == (None, ["10.0.0.0/8"])
    assert (await verify(client, key["secret"])).json()["scopes"] == ["identity:read", "usage:ingest"]


async def test_a_change_that_changes_nothing_keeps_the_etag(client: httpx.AsyncClient, keys_path: str):
    created = await client.post(keys_path, json=body(), headers=OPERATOR)
    same = await client.patch(f"{keys_path}/{created.json()['id']}", json={"name": "CI"}, headers=OPERATOR)
    assert same.headers["ETag"] == created.headers["ETag"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"scopes": ["operator"]}, (422, "validation_failed")),
        ({"scopes": ["usage:write"]}, (403, "scope_not_held")),
        ({"expiresAt": YESTERDAY}, (422, "validation_failed")),
        ({"environment": "production"}, (422, "validation_failed")),
    ],
)
async def test_a_wrong_change_is_refused(
    client: httpx.AsyncClient,
    keys_path: str,
    organization: UUID,
    change: dict[str, object],
    expected: tuple[int, str],
):
    key = await create_key(client, keys_path)
    writer = caller("identity:write", "identity:read", organization_id=organization)
    answer = await client.patch(f"{keys_path}/{key['id']}", json=change, headers=writer)
    assert outcome(answer) == expected


async def test_a_rotated_key_has_two_secrets_until_the_grace_ends(
    client: httpx.AsyncClient, database: Database, keys_path: str
):
    key = await create_key(client, keys_path)
    rotated = await client.post(
        f"{keys_path}/{key['id']}/rotate", json={"graceSeconds": 60}, headers=OPERATOR
    )
    assert (rotated.status_code, rotated.headers["Cache-Control"]) == (200, "no-store")
    assert (await verify(client, rotated.json()["secret"])).json()["expiresAt"] is None
    assert (await verify(client, key["secret"])).json()["expiresAt"] == rotated.json()["previousExpiresAt"]
    async with database.begin() as session:
        await session.execute(update(ApiKey).values(previous_expires_at=datetime.now(UTC)))
    assert outcome(await verify(client, key["secret"])) == (404, "api_key_invalid")
    assert (await verify(client, rotated.json()["secret"])).status_code == 200


async def test_a_rotation_without_grace_ends_the_old_secret_at_once(
    client: httpx.AsyncClient, keys_path: str
):
    key = await create_key(client, keys_path)
    path = f"{keys_path}/{key['id']}/rotate"
    rotated = await client.post(path, json={"graceSeconds": 0}, headers=OPERATOR)
    assert rotated.json()["previousExpiresAt"] is None
    assert outcome(await verify(client, key["secret"])) == (404, "api_key_invalid")


async def test_a_second_rotation_ends_the_oldest_secret(client: httpx.AsyncClient, keys_path: str):
    key = await create_key(client, keys_path)
    path = f"{keys_path}/{key['id']}/rotate"
    second = (await client.post(path, json={}, headers=OPERATOR)).json()
    third = (await client.post(path, json={}, headers=OPERATOR)).json()
    statuses = [(await verify(client, each["secret"])).status_code for each in (key, second, third)]
    assert statuses == [404, 200, 200]


async def test_a_secret_is_as_old_as_its_key_until_a_rotation(client: httpx.AsyncClient, keys_path: str):
    key = await create_key(client, keys_path)
    path = f"{keys_path}/{key['id']}"
    renamed = (await client.patch(path, json={"name": "Deploy"}, headers=OPERATOR)).json()
    rotated = (await client.post(f"{path}/rotate", json={}, headers=OPERATOR)).json()
    assert key["createdAt"] == key["secretCreatedAt"] == renamed["secretCreatedAt"]
    assert datetime.fromisoformat(rotated["secretCreatedAt"]) > datetime.fromisoformat(key["createdAt"])
    assert (await client.get(path, headers=OPERATOR)).json()["secretCreatedAt"] == rotated["secretCreatedAt"]


async def test_whoever_rotates_a_key_holds_what_it_holds(
    client: httpx.AsyncClient, keys_path: str, organization: UUID
):
    key = await create_key(client, keys_path, scopes=["usage:write"], environment="production")
    path = f"{keys_path}/{key['id']}/rotate"
    narrow = caller("identity:write", organization_id=organization)
    elsewhere = caller("identity:write", "usage:write", organization_id=organization, environment="staging")
    assert outcome(await client.post(path, json={}, headers=narrow)) == (403, "scope_not_held")
    assert outcome(await client.post(path, json={}, headers=elsewhere)) == (403, "environment_not_held")


@pytest.mark.parametrize("grace", [-1, 30 * 86_400 + 1, "soon"])
async def test_a_wrong_grace_is_refused(client: httpx.AsyncClient, keys_path: str, grace: object):
    key = await create_key(client, keys_path)
    answer = await client.post(
        f"{keys_path}/{key['id']}/rotate", json={"graceSeconds": grace}, headers=OPERATOR
    )
    assert outcome(answer) == (422, "validation_failed")


async def test_a_revoked_key_is_gone_at_once(client: httpx.AsyncClient, keys_path: str):
    key = await create_key(client, keys_path)
    path = f"{keys_path}/{key['id']}"
    revoked = await client.delete(path, headers=OPERATOR)
    assert (revoked.status_code, revoked.content) == (204, b"")
    assert outcome(await verify(client, key["secret"])) == (404, "api_key_invalid")
    assert outcome(await client.get(path, headers=OPERATOR)) == (404, "api_key_not_found")
    assert outcome(await client.delete(path, headers=OPERATOR)) == (404, "api_key_not_found")


@pytest.mark.parametrize(("method", "suffix"), [("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")])
async def test_a_stale_etag_is_refused(client: httpx.AsyncClient, keys_path: str, method: str, suffix: str):
    created = await client.post(keys_path, json=body(), headers=OPERATOR)
    path = f"{keys_path}/{created.json()['id']}"
    await client.patch(path, json={"name": "Newer"}, headers=OPERATOR)
    headers = {**OPERATOR, "If-Match": created.headers["ETag"]}
    content: dict[str, object] | None = None if method == "DELETE" else {}
    assert outcome(await client.request(method, path + suffix, json=content, headers=headers)) == (
        412,
        "precondition_failed",
    )


async def test_every_change_is_told_with_its_actor_and_organization(
    client: httpx.AsyncClient, database: Database, keys_path: str, organization: UUID
):
    key = await create_key(client, keys_path)
    path = f"{keys_path}/{key['id']}"
    await client.patch(path, json={"name": "Deploy"}, headers=OPERATOR)
    await client.post(f"{path}/rotate", json={}, headers=OPERATOR)
    await client.delete(path, headers=OPERATOR)
    async with database.session() as session:
        rows = (await session.execute(select(outbox).order_by(outbox.c.sequence))).all()[1:]
    assert [row.type.removeprefix("dev.undercroft.api_key.") for row in rows] == [
        "created",
        "updated",
        "rotated",
        "revoked",
    ]
    assert {(row.subject, row.actor, row.organization_id) for row in rows} == {
        (key["id"], "key_01h455vb4pex5vsknk084sn02q", organization)
    }


ORGANIZATION_KEYS = f"/v1/organizations/{NO_ORGANIZATION_ID}/api-keys"
CALLS = [
    ("POST", "", body()),
    ("GET", "", None),
    ("GET", f"/{NO_KEY_ID}", None),
    ("PATCH", f"/{NO_KEY_ID}", {"name": "Deploy"}),
    ("POST", f"/{NO_KEY_ID}/rotate", {}),
    ("DELETE", f"/{NO_KEY_ID}", None),
]


@pytest.mark.parametrize(("method", "suffix", "content"), CALLS)
async def test_somebody_elses_keys_are_not_found(
    client: httpx.AsyncClient, keys_path: str, method: str, suffix: str, content: object
):
    stranger = caller("identity:read", "identity:write", organization_id=NO_ORGANIZATION)
    answer = await client.request(method, keys_path + suffix, json=content, headers=stranger)
    assert outcome(answer) == (404, "organization_not_found")


@pytest.mark.parametrize(("method", "suffix", "content"), CALLS[:2])
async def test_an_unknown_organization_has_no_keys(
    client: httpx.AsyncClient, method: str, suffix: str, content: object
):
    answer = await client.request(method, ORGANIZATION_KEYS + suffix, json=content, headers=OPERATOR)
    assert outcome(answer) == (404, "organization_not_found")


@pytest.mark.parametrize("path", [ORGANIZATION_KEYS, OPERATOR_KEYS])
@pytest.mark.parametrize(("method", "suffix", "content"), CALLS[2:])
async def test_an_unknown_key_is_not_found(
    client: httpx.AsyncClient, path: str, method: str, suffix: str, content: object
):
    answer = await client.request(method, path + suffix, json=content, headers=OPERATOR)
    assert outcome(answer) == (404, "api_key_not_found")


@pytest.mark.parametrize("path", [ORGANIZATION_KEYS, OPERATOR_KEYS])
@pytest.mark.parametrize(("method", "suffix", "content"), CALLS)
async def test_a_too_narrow_scope_and_no_caller_at_all_are_refused(
    client: httpx.AsyncClient, path: str, method: str, suffix: str, content: object
):
    narrow = caller("identity:write" if method == "GET" else "identity:read", organization_id=NO_ORGANIZATION)
    refused = await client.request(method, path + suffix, json=content, headers=narrow)
    unknown = await client.request(method, path + suffix, json=content)
    assert outcome(refused) == (403, "insufficient_scope")
    assert outcome(unknown) == (401, "unauthenticated")
