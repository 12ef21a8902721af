"""Counted evaluations: in memory, then in the database, then over HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from services.flags.tests.factories import definition, targeted

from undercroft.flags.models import EvaluationCount, Flag, LastEvaluation
from undercroft.flags.service.usage import UsageCounter
from undercroft.flags.worker import flush_usage, prune
from undercroft.shared.db import Database
from undercroft.shared.errors import UnavailableError

PATH = "/v1/flags/new-checkout/usage"


@pytest.fixture(autouse=True)
async def flags(client: httpx.AsyncClient) -> None:
    for key, defined in (("new-checkout", targeted({"if": [{"var": "on"}, "on"]})), ("static", definition())):
        await client.post("/v1/flags", json={"key": key, "type": "boolean"})
        await client.put(f"/v1/flags/{key}/environments/production", json=defined)


async def flush(app: FastAPI, database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await flush_usage(database, app.state.usage_counter, interval_seconds=60)


async def evaluate(client: httpx.AsyncClient, key: str = "/new-checkout", **context: object) -> None:
    await client.post(f"/ofrep/v1/evaluate/flags{key}", json={"context": context})


async def test_evaluations_are_counted_by_variant(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    for is_on in (True, True, False):
        await evaluate(client, on=is_on)
    await flush(app, database)
    await evaluate(client, on=True)
    await flush(app, database)
    usage = (await client.get(PATH)).json()
    assert usage["totals"] == {"on": 3, "off": 1}
    assert {(each["variant"], each["reason"], each["count"]) for each in usage["items"]} == {
        ("on", "TARGETING_MATCH", 3),
        ("off", "DEFAULT", 1),
    }
    assert usage["lastEvaluatedAt"] is not None
    assert (await client.get("/v1/flags/new-checkout")).json()["lastEvaluatedAt"] == usage["lastEvaluatedAt"]


async def test_bulk_evaluations_count_every_flag(client: httpx.AsyncClient, app: FastAPI, database: Database):
    for _ in range(3):
        await evaluate(client, "")
    await flush(app, database)
    assert (await client.get(PATH)).json()["totals"] == {"off": 3}
    assert (await client.get("/v1/flags/static/usage")).json()["totals"] == {"on": 3}


async def test_errors_count_and_unknown_flags_do_not(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    document = {"flags": {"new-checkout": targeted({"if": [{"$ref": "nobody"}, "on"]})}}
    await client.put("/v1/environments/production/flagd", json=document)
    await evaluate(client)
    await evaluate(client, "")
    await evaluate(client, "/unknown")
    await flush(app, database)
    usage = (await client.get(PATH, params={"window": "hour", "environment": "production"})).json()
    assert [(each["variant"], each["reason"], each["count"]) for each in usage["items"]] == [
        (None, "ERROR", 2)
    ]
    assert (await client.get(PATH, params={"environment": "staging"})).json()["items"] == []


def test_frequent_bulks_are_sampled_and_rare_ones_counted_exactly():
    counter = UsageCounter()
    weights = [counter.bulk_weight() for _ in range(64 + 1600)]
    assert weights[:64] == [1] * 64
    assert set(weights[64:]) == {0, 16}
    assert sum(weights) == 64 + 1600
    counter.drain()
    assert counter.bulk_weight() == 1


async def test_counts_wait_while_postgres_is_away(
    client: httpx.AsyncClient, app: FastAPI, database: Database, monkeypatch: pytest.MonkeyPatch
):
    def away() -> None:
        raise UnavailableError("away")

    await evaluate(client, on=True)
    with monkeypatch.context() as patched:
        patched.setattr(database, "session", away)
        await flush(app, database)
    await evaluate(client, on=True)
    await flush(app, database)
    assert (await client.get(PATH)).json()["totals"] == {"on": 2}


@pytest.mark.parametrize(
    "params",
    [
        {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        {"from": "2020-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z", "window": "hour"},
    ],
)
async def test_a_wrong_period_is_refused(client: httpx.AsyncClient, params: dict[str, str]):
    refused = await client.get(PATH, params=params)
    assert (refused.status_code, refused.json()["code"]) == (422, "period_invalid")


async def test_old_counts_are_pruned_and_the_last_time_stays(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    await evaluate(client, on=True)
    await flush(app, database)
    async with database.begin() as session:
        past = datetime.now(UTC) - timedelta(days=31)
        await session.execute(sa.update(EvaluationCount).values(hour=past))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await prune(database, interval_seconds=0.01)
    usage = (await client.get(PATH, params={"from": "2026-01-01T00:00:00Z"})).json()
    assert (usage["items"], usage["lastEvaluatedAt"] is not None) == ([], True)


async def test_a_deleted_environment_leaves_no_counts(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    await client.put("/v1/flags/static/environments/staging", json=definition())
    await client.post("/ofrep/v1/evaluate/flags/static", params={"environment": "staging"}, json={})
    await flush(app, database)
    await client.delete("/v1/environments/staging")
    async with database.session() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(LastEvaluation)) == 0


async def test_flags_that_expired_or_are_unused_are_stale(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    await client.patch("/v1/flags/static", json={"expiresAt": "2026-01-01T00:00:00Z"})
    await client.post("/v1/flags", json={"key": "unused", "type": "boolean"})
    async with database.begin() as session:
        long_ago = datetime.now(UTC) - timedelta(days=31)
        aged = sa.update(Flag).where(Flag.key.in_(["unused", "new-checkout"]))
        await session.execute(aged.values(created_at=long_ago))
    await evaluate(client)
    await flush(app, database)
    stale = (await client.get("/v1/flags", params={"stale": "true"})).json()["items"]
    fresh = (await client.get("/v1/flags", params={"stale": "false"})).json()["items"]
    assert [(flag["key"], flag["stale"]) for flag in stale] == [
        ("static", ["expired"]),
        ("unused", ["unused"]),
    ]
    assert [(flag["key"], flag["stale"]) for flag in fresh] == [("new-checkout", [])]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"owner": "payments"}, ["new-checkout"]),
        ({"type": "string"}, ["title"]),
        ({"q": "CHECK"}, ["new-checkout"]),
        ({"q": "100%_"}, ["title"]),
        ({"tag": ["web", "beta"]}, ["new-checkout"]),
        ({"environment": "production"}, ["new-checkout", "static"]),
        ({"state": "DISABLED"}, ["static"]),
        ({"state": "ENABLED", "environment": "production", "owner": "payments"}, ["new-checkout"]),
        ({"environment": "staging"}, []),
    ],
)
async def test_flags_are_filtered(client: httpx.AsyncClient, params: dict[str, Any], expected: list[str]):
    await client.patch("/v1/flags/new-checkout", json={"owner": "payments", "tags": ["beta", "web"]})
    await client.patch("/v1/flags/static", json={"tags": ["web"]})
    await client.put("/v1/flags/static/environments/production", json=definition(state="DISABLED"))
    await client.post("/v1/flags", json={"key": "title", "type": "string", "description": "at 100%_"})
    found = (await client.get("/v1/flags", params=params)).json()["items"]
    assert [flag["key"] for flag in found] == expected
