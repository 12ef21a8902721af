import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Depends, FastAPI, Response
from httpx import ASGITransport, AsyncClient
from pydantic import SecretStr

from undercroft.shared.app import create_service_app
from undercroft.shared.auth import Requires
from undercroft.shared.db import Database, SessionDep, metadata_for
from undercroft.shared.errors import ConflictError
from undercroft.shared.idempotency import (
    ServiceRoute,
    idempotency_table,
    normalise_key,
    prune_idempotency_keys,
)
from undercroft.shared.serialization import RequestModel
from undercroft.shared.settings import ServiceSettings
from undercroft.shared.testing import api_key_principal, principal_headers, principal_keys

metadata = metadata_for("orders")
orders = sa.Table(
    "orders", metadata, sa.Column("name", sa.Text), sa.Column("id", sa.Integer, primary_key=True)
)
keys = idempotency_table(metadata)
SETTINGS = ServiceSettings(
    service_name="flags",
    port=1,
    secret_key=SecretStr("s" * 32),
    principal_keys=principal_keys("flags"),
    access_log=False,
)
CALLER = principal_headers(api_key_principal("flags:write"), audience="flags")
OTHER = principal_headers(api_key_principal("flags:write", environment="other"), audience="flags")


class OrderCreate(RequestModel):
    name: str


@pytest.fixture(scope="module")
async def database(create_database: Callable[[], Awaitable[str]]) -> AsyncIterator[Database]:
    database = Database(await create_database(), application_name="test", pool_size=4)
    async with database.begin() as session:
        await session.execute(sa.text("CREATE SCHEMA orders"))
        await session.run_sync(lambda sync: metadata.create_all(sync.connection()))
    yield database
    await database.dispose()


@pytest.fixture
async def client(database: Database) -> AsyncIterator[AsyncClient]:
    async with database.begin() as session:
        await session.execute(sa.delete(orders))
        await session.execute(sa.delete(keys))
    app = create_app(database)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://orders", headers=CALLER) as client:
        yield client


def create_app(database: Database) -> FastAPI:
    router = APIRouter(route_class=ServiceRoute, dependencies=[Depends(Requires("flags:write"))])

    @router.post("/orders", status_code=201)
    async def create(order: OrderCreate, session: SessionDep, response: Response) -> dict[str, str]:
        if order.name == "slow":
            await asyncio.sleep(0.3)
        await session.execute(orders.insert().values(name=order.name))
        if order.name == "taken":
            raise ConflictError("Taken.", code="order_taken")
        if order.name == "refused":
            raise OrderRefusedError
        response.headers["Location"] = "/orders/1"
        return {"name": order.name}

    app = create_service_app(SETTINGS, description="Orders.", routers=[router], lifespan=None)  # type: ignore[arg-type]
    app.state.database = database
    app.state.idempotency_table = keys
    return app


class OrderRefusedError(ConflictError):
    status = 422
    code = "order_refused"


async def count(database: Database) -> int:
    async with database.session() as session:
        return await session.scalar(sa.select(sa.func.count()).select_from(orders)) or 0


async def test_the_same_request_is_done_once_and_answered_twice(
    client: AsyncClient, database: Database
) -> None:
    first = await client.post("/orders", json={"name": "a"}, headers={"Idempotency-Key": "k1"})
    second = await client.post("/orders", json={"name": "a"}, headers={"Idempotency-Key": '"k1"'})
    assert (first.status_code, second.status_code, second.json()) == (201, 201, {"name": "a"})
    assert second.headers["Location"] == "/orders/1"
    assert second.headers["Idempotency-Replayed"] == "true"
    assert await count(database) == 1


async def test_another_body_under_the_same_key_is_refused(client: AsyncClient) -> None:
    await client.post("/orders", json={"name": "a"}, headers={"Idempotency-Key": "k1"})
    reused = await client.post("/orders", json={"name": "b"}, headers={"Idempotency-Key": "k1"})
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


async def test_keys_belong_to_their_caller(client: AsyncClient, database: Database) -> None:
    await client.post("/orders", json={"name": "a"}, headers={"Idempotency-Key": "k1"})
    stranger = api_key_principal("flags:write")
    object.__setattr__(stranger, "subject", "key_other")
    headers = principal_headers(stranger, audience="flags")
    answer = await client.post("/orders", json={"name": "b"}, headers={"Idempotency-Key": "k1", **headers})
    assert answer.status_code == 201
    assert await count(database) == 2


async def test_a_concurrent_duplicate_is_told_so(client: AsyncClient, database: Database) -> None:
    async def send() -> int:
        answer = await client.post("/orders", json={"name": "slow"}, headers={"Idempotency-Key": "k1"})
        return answer.status_code

    assert sorted(await asyncio.gather(send(), send())) == [201, 409]
    assert await count(database) == 1


async def test_a_refusal_is_replayed_and_its_effect_undone(client: AsyncClient, database: Database) -> None:
    first = await client.post("/orders", json={"name": "refused"}, headers={"Idempotency-Key": "k1"})
    second = await client.post("/orders", json={"name": "refused"}, headers={"Idempotency-Key": "k1"})
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert await count(database) == 0


async def test_a_conflict_can_be_tried_again(client: AsyncClient) -> None:
    for _ in range(2):
        answer = await client.post("/orders", json={"name": "taken"}, headers={"Idempotency-Key": "k1"})
        assert answer.json()["code"] == "order_taken"
        assert "Idempotency-Replayed" not in answer.headers


async def test_an_expired_answer_is_forgotten(client: AsyncClient, database: Database) -> None:
    await client.post("/orders", json={"name": "a"}, headers={"Idempotency-Key": "k1"})
    async with database.begin() as session:
        await session.execute(sa.update(keys).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    again = await client.post("/orders", json={"name": "b"}, headers={"Idempotency-Key": "k1"})
    assert (again.status_code, await count(database)) == (201, 2)


async def test_the_table_does_not_disclose_the_answer(client: AsyncClient, database: Database) -> None:
    await client.post("/orders", json={"name": "visible-name"}, headers={"Idempotency-Key": "k1"})
    async with database.session() as session:
        answer = await session.scalar(sa.select(keys.c.answer))
    assert answer is not None
    assert b"visible-name" not in answer


async def test_an_answer_of_another_secret_key_stops_rather_than_repeats(
    client: AsyncClient, database: Database
) -> None:
    await client.post("/orders", json={"name": "a"}, headers={"Idempotency-Key": "k1"})
    async with database.begin() as session:
        await session.execute(sa.update(keys).values(answer=b"x" * 64))
    again = await client.post("/orders", json={"name": "a"}, headers={"Idempotency-Key": "k1"})
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_key_unreadable")


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "é", "a\tb"])
async def test_a_malformed_key_is_refused(client: AsyncClient, key: str) -> None:
    answer = await client.post("/orders", json={"name": "a"}, headers=[(b"Idempotency-Key", key.encode())])
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")


async def test_two_keys_are_refused(client: AsyncClient) -> None:
    headers = [*CALLER.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await client.post("/orders", json={"name": "a"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")


async def test_without_a_key_every_request_counts(client: AsyncClient, database: Database) -> None:
    await client.post("/orders", json={"name": "a"})
    await client.post("/orders", json={"name": "a"})
    assert await count(database) == 2


async def test_expired_answers_are_pruned(client: AsyncClient, database: Database) -> None:
    await client.post("/orders", json={"name": "a"}, headers={"Idempotency-Key": "k1"})
    async with database.begin() as session:
        now = datetime.now(UTC)
        assert await prune_idempotency_keys(session, keys, now=now) == 0
        assert await prune_idempotency_keys(session, keys, now=now + timedelta(hours=25)) == 1


@pytest.mark.parametrize("body", ["{", '{"name": NaN}', '{"name": "\ud800"}'])
async def test_malformed_json_is_400(client: AsyncClient, body: str) -> None:
    content = body.encode("utf-8", "surrogatepass")
    answer = await client.post("/orders", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")


async def test_another_media_type_is_415(client: AsyncClient) -> None:
    answer = await client.post("/orders", content=b"name=a", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"], answer.headers["Accept"]) == (
        415,
        "unsupported_media_type",
        "application/json",
    )


def test_quoted_and_bare_keys_are_the_same() -> None:
    assert normalise_key('"a\\"b"') == normalise_key('a"b')
