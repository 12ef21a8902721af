"""What other deployables ask of identity, and what nobody else may."""

import httpx
import pytest
from fastapi import FastAPI
from services.identity.tests.factories import GATEWAY, OPERATOR, create_key, outcome, verify
from sqlalchemy import select

from undercroft.identity.models.api_keys import ApiKey
from undercroft.identity.worker.api_keys import write_last_uses
from undercroft.shared.db import Database
from undercroft.shared.ids import new_uuid7
from undercroft.shared.testing import service_headers, unguarded_routes
from undercroft.shared.tokens import mint_token

VERIFY = "/internal/api-keys/verify"


@pytest.mark.parametrize("secret", ["", "nonsense", mint_token("live", new_uuid7()).text])
async def test_an_unknown_or_mistyped_secret_opens_nothing(client: httpx.AsyncClient, secret: str):
    assert outcome(await verify(client, secret)) == (404, "api_key_invalid")


@pytest.mark.parametrize("body", [{}, {"secret": 7}, {"secret": "a" * 513}, {"secret": "a", "more": 1}])
async def test_a_wrong_question_is_refused_without_repeating_it(client: httpx.AsyncClient, body: object):
    answer = await client.post(VERIFY, json=body, headers=GATEWAY)
    assert outcome(answer) == (422, "validation_failed")
    assert "aaaa" not in answer.text


async def test_verification_is_for_other_deployables_only(client: httpx.AsyncClient):
    content = {"secret": "nonsense"}
    assert outcome(await client.post(VERIFY, json=content)) == (401, "unauthenticated")
    assert outcome(await client.post(VERIFY, json=content, headers=OPERATOR)) == (404, "not_found")


async def test_a_principal_for_another_service_is_refused(client: httpx.AsyncClient):
    headers = service_headers("gateway", audience="flags")
    answer = await client.post(VERIFY, json={"secret": "nonsense"}, headers=headers)
    assert outcome(answer) == (401, "principal_invalid")


async def test_a_use_is_shown_after_it_was_written_in_its_batch(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    used, unused = await create_key(client), await create_key(client)
    await verify(client, used["secret"])
    await write_last_uses(database, app.state.last_uses)
    shown = {
        key["id"]: (await client.get(f"/v1/api-keys/{key['id']}", headers=OPERATOR)).json()["lastUsedAt"]
        for key in (used, unused)
    }
    assert shown[used["id"]] is not None
    assert shown[unused["id"]] is None


async def test_a_use_does_not_change_the_etag(client: httpx.AsyncClient, app: FastAPI, database: Database):
    key = await create_key(client)
    before = await client.get(f"/v1/api-keys/{key['id']}", headers=OPERATOR)
    await verify(client, key["secret"])
    await write_last_uses(database, app.state.last_uses)
    after = await client.get(f"/v1/api-keys/{key['id']}", headers=OPERATOR)
    assert before.headers["ETag"] == after.headers["ETag"]


async def test_an_earlier_use_does_not_overwrite_a_later_one(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    key = await create_key(client)
    await verify(client, key["secret"])
    earlier = app.state.last_uses.take()
    await verify(client, key["secret"])
    await write_last_uses(database, app.state.last_uses)
    app.state.last_uses.put_back(earlier)
    await write_last_uses(database, app.state.last_uses)
    async with database.session() as session:
        (last_used_at,) = await session.scalars(select(ApiKey.last_used_at))
    assert last_used_at > next(iter(earlier.values()))


def test_every_route_demands_something_of_its_caller(app: FastAPI):
    assert unguarded_routes(app) == []


def test_internal_routes_are_not_in_the_public_document(app: FastAPI):
    paths = app.openapi()["paths"]
    assert "/v1/organizations/{organization_id}/api-keys/{key_id}/rotate" in paths
    assert not [path for path in paths if path.startswith("/internal")]
