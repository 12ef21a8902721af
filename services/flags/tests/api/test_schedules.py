"""Schedules over HTTP and in the background: made once, at their time, by whichever replica."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from services.flags.tests.conftest import Replica
from services.flags.tests.factories import by_rules, condition, definition

from undercroft.flags.service import schedules as module
from undercroft.flags.worker import run_schedule
from undercroft.shared.db import Database

FLAG = "/v1/flags/new-checkout"
DEFINED = f"{FLAG}/environments/production"
PATH = f"{DEFINED}/schedules"
PAST = "2026-01-01T00:00:00Z"
FUTURE = "2099-01-01T00:00:00Z"
OFF = {"at": PAST, "change": {"state": "DISABLED"}}


def ramp(*percentages: float, rule: str = "everyone", variant: str = "on") -> dict[str, Any]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    steps = [
        {"at": (start + timedelta(hours=number)).isoformat(), "percentage": percentage}
        for number, percentage in enumerate(percentages)
    ]
    return {"ramp": {"rule": rule, "variant": variant, "steps": steps}}


@pytest.fixture
async def flag(client: httpx.AsyncClient) -> None:
    await client.post("/v1/flags", json={"key": "new-checkout", "type": "boolean"})
    await client.put(DEFINED, json=by_rules({"conditions": [condition("a", "equals", 1)], "variant": "on"}))


async def run_all(database: Database) -> int:
    steps = 0
    while await run_schedule(database):
        steps += 1
    return steps


async def create(client: httpx.AsyncClient, body: Mapping[str, object]) -> httpx.Response:
    created = await client.post(PATH, json=body)
    assert created.status_code == 201, created.text
    return created


@pytest.mark.usefixtures("flag")
async def test_a_change_is_made_at_its_time_in_its_authors_name(
    client: httpx.AsyncClient, database: Database
):
    created = await create(client, OFF)
    assert (created.json()["status"], created.json()["change"]) == ("open", {"state": "DISABLED"})
    assert await run_all(database) == 1
    assert (await client.get(DEFINED)).json()["state"] == "DISABLED"
    done = (await client.get(created.headers["Location"])).json()
    assert (done["status"], done["stepsDone"], done["nextAt"]) == ("done", 1, None)
    latest = (await client.get(f"{FLAG}/history")).json()["items"][0]
    assert (latest["origin"], latest["scheduleId"]) == ("schedule", done["id"])
    assert latest["actor"] == done["author"] == "key_01h455vb4pex5vsknk084sn02q"


@pytest.mark.usefixtures("flag")
async def test_a_change_before_its_time_is_not_made(client: httpx.AsyncClient, database: Database):
    created = await create(client, {**OFF, "at": FUTURE})
    assert await run_all(database) == 0
    assert created.json()["nextAt"] == FUTURE
    assert (await client.get(DEFINED)).json()["state"] == "ENABLED"


@pytest.mark.usefixtures("flag")
async def test_missed_steps_of_a_ramp_are_made_one_after_the_other(
    client: httpx.AsyncClient, database: Database
):
    await create(client, ramp(1, 10.5, 100))
    assert await run_all(database) == 3
    rules = (await client.get(DEFINED)).json()["rules"]
    assert rules[1] == {"name": "everyone", "variant": "on", "rollout": {"percentage": 100.0}}
    changes = (await client.get(f"{FLAG}/history")).json()["items"][:3]
    assert [each["diff"][0].get("value") for each in changes[:2]] == [100, 10.5]
    assert (await client.get(PATH)).json()["items"][0]["status"] == "done"


@pytest.mark.usefixtures("flag")
async def test_a_ramp_tells_subjects_apart_by_its_attribute(client: httpx.AsyncClient, database: Database):
    by_organization = ramp(50)
    by_organization["ramp"]["bucketBy"] = "organization.id"
    await create(client, by_organization)
    await run_all(database)
    rollout = (await client.get(DEFINED)).json()["rules"][1]["rollout"]
    assert rollout == {"percentage": 50, "bucketBy": "organization.id"}


@pytest.mark.usefixtures("flag")
@pytest.mark.parametrize(
    ("meanwhile", "detail"),
    [
        (by_rules({"name": "everyone", "variant": "on", "rollout": {"percentage": 5}}), "no longer at 1 %"),
        (by_rules({"name": "everyone", "variant": "off"}), "does not lead to 'on'"),
        (by_rules(), "no longer there"),
        (definition(targeting={"if": [True, "on"]}), "JsonLogic"),
    ],
)
async def test_a_ramp_stops_when_somebody_changed_its_rule(
    client: httpx.AsyncClient, database: Database, meanwhile: dict[str, object], detail: str
):
    created = await create(client, ramp(1, 10))
    await run_schedule(database)
    await client.put(DEFINED, json=meanwhile)
    assert await run_all(database) == 1
    failed = (await client.get(created.headers["Location"])).json()
    assert (failed["status"], failed["stepsDone"]) == ("failed", 1)
    assert failed["failure"]["code"] == "schedule_incompatible"
    assert detail in failed["failure"]["detail"]
    assert (await client.get(DEFINED)).json() == meanwhile


@pytest.mark.usefixtures("flag")
async def test_a_change_that_no_longer_compiles_fails_with_its_places(
    client: httpx.AsyncClient, database: Database
):
    await create(client, {"at": PAST, "change": {"defaultVariant": "on"}})
    await client.put(DEFINED, json=definition(variants={"yes": True}, defaultVariant="yes"))
    await run_all(database)
    failure = (await client.get(PATH, params={"status": "failed"})).json()["items"][0]["failure"]
    assert (failure["code"], failure["errors"][0]["pointer"]) == ("definition_invalid", "#/defaultVariant")


@pytest.mark.usefixtures("flag")
async def test_a_schedule_of_an_archived_flag_fails(client: httpx.AsyncClient, database: Database):
    await create(client, OFF)
    await client.delete(FLAG)
    await run_all(database)
    assert (await client.get(PATH)).json()["items"][0]["failure"]["code"] == "flag_archived"


@pytest.mark.usefixtures("flag")
async def test_a_ramp_of_a_definition_that_was_dropped_fails(client: httpx.AsyncClient, database: Database):
    await client.put(f"{FLAG}/environments/staging", json=definition())
    await create(client, ramp(1))
    await client.put("/v1/environments/production/flagd", json={"flags": {}})
    await run_all(database)
    assert (await client.get(PATH)).json()["items"][0]["failure"]["code"] == "definition_not_found"


@pytest.mark.usefixtures("flag")
async def test_a_crash_ends_one_schedule_and_not_the_others(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
):
    await create(client, OFF)

    def crash(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(module, "merge", crash)
        await run_all(database)
    failed = (await client.get(PATH)).json()["items"][0]
    assert (failed["status"], failed["failure"]["code"]) == ("failed", "internal_error")


@pytest.mark.usefixtures("flag")
async def test_a_cancelled_schedule_does_nothing_and_stays_on_record(
    client: httpx.AsyncClient, database: Database
):
    created = await create(client, OFF)
    assert (await client.delete(created.headers["Location"])).status_code == 204
    assert await run_all(database) == 0
    assert (await client.get(created.headers["Location"])).json()["status"] == "cancelled"
    again = await client.delete(created.headers["Location"])
    assert (again.status_code, again.json()["code"]) == (409, "schedule_finished")


@pytest.mark.usefixtures("flag")
async def test_what_is_impossible_now_is_refused(client: httpx.AsyncClient):
    unknown = await client.post(PATH, json={"at": FUTURE, "change": {"defaultVariant": "maybe"}})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "definition_invalid")
    await client.put(DEFINED, json=definition(targeting={"if": [True, "on"]}))
    raw = await client.post(PATH, json=ramp(1))
    assert (raw.status_code, raw.json()["code"]) == (409, "schedule_incompatible")
    await client.delete(FLAG)
    archived = await client.post(PATH, json={**OFF, "at": FUTURE})
    assert (archived.status_code, archived.json()["code"]) == (409, "flag_archived")


@pytest.mark.usefixtures("flag")
async def test_a_rehearsal_leaves_no_trace(client: httpx.AsyncClient):
    before = await client.get(DEFINED)
    await create(client, {**OFF, "at": FUTURE})
    after = await client.get(DEFINED)
    assert (after.json(), after.headers["ETag"]) == (before.json(), before.headers["ETag"])
    assert len((await client.get(f"{FLAG}/history")).json()["items"]) == 2


@pytest.mark.usefixtures("flag")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"at": FUTURE},
        {"change": {}},
        {**OFF, **ramp(1)},
        {"at": FUTURE, **ramp(1)},
        ramp(101),
        ramp(0.001),
        {"ramp": {"rule": "r", "variant": "on", "steps": []}},
        {"ramp": {"rule": "r", "variant": "on", "steps": [{"at": FUTURE, "percentage": 1}] * 2}},
    ],
)
async def test_a_schedule_is_one_change_or_a_ramp_in_order(
    client: httpx.AsyncClient, body: dict[str, object]
):
    refused = await client.post(PATH, json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")


@pytest.mark.usefixtures("flag")
async def test_the_number_of_open_schedules_is_bounded(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MAX_OPEN_SCHEDULES", 1)
    await create(client, {**OFF, "at": FUTURE})
    refused = await client.post(PATH, json={**OFF, "at": FUTURE})
    assert (refused.status_code, refused.json()["code"]) == (409, "schedule_limit_reached")


@pytest.mark.usefixtures("flag")
async def test_an_unknown_schedule_is_not_found(client: httpx.AsyncClient):
    unknown = f"{PATH}/sch_01h455vb4pex5vsknk084sn02q"
    for missing in (await client.get(unknown), await client.delete(unknown)):
        assert (missing.status_code, missing.json()["code"]) == (404, "schedule_not_found")
    nowhere = await client.get("/v1/flags/nothing/environments/production/schedules")
    assert nowhere.json()["code"] == "flag_not_found"


@pytest.mark.usefixtures("flag")
async def test_schedules_go_with_their_environment(
    client: httpx.AsyncClient, app: FastAPI, database: Database
):
    staging = f"{FLAG}/environments/staging"
    await client.put(staging, json=definition())
    await client.post(f"{staging}/schedules", json=OFF)
    assert (await client.delete("/v1/environments/staging")).status_code == 204
    assert await run_all(database) == 0


async def test_of_two_replicas_exactly_one_makes_each_step(live_url: str, replica: Replica):
    database = Database(live_url, application_name="test", pool_size=5)
    try:
        async with replica(schedule_poll_seconds=60) as client:
            async with database.begin() as session:
                await session.execute(sa.text("TRUNCATE flags.flags CASCADE"))
            for number in range(4):
                await client.post("/v1/flags", json={"key": f"flag-{number}", "type": "boolean"})
                defined = f"/v1/flags/flag-{number}/environments/production"
                await client.put(defined, json=by_rules())
                await client.post(f"{defined}/schedules", json=ramp(1, 10, 100))
            steps = await asyncio.gather(*(run_all(database) for _ in range(4)))
            assert sum(steps) == 12
            for number in range(4):
                changes = (await client.get(f"/v1/flags/flag-{number}/history")).json()["items"]
                assert [each["origin"] for each in changes].count("schedule") == 3
    finally:
        await database.dispose()


async def test_a_restarted_replica_makes_what_was_missed(live_url: str, replica: Replica):
    async with replica(schedule_poll_seconds=60) as client:
        await client.post("/v1/flags", json={"key": "missed", "type": "boolean"})
        defined = "/v1/flags/missed/environments/production"
        await client.put(defined, json=definition())
        soon = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()
        await client.post(f"{defined}/schedules", json={"at": soon, "change": {"state": "DISABLED"}})
    await asyncio.sleep(0.5)
    async with replica(schedule_poll_seconds=60) as client, asyncio.timeout(5):
        while (await client.get(defined)).json()["state"] != "DISABLED":  # noqa: ASYNC110  over HTTP
            await asyncio.sleep(0.05)


async def test_schedules_wait_while_postgres_is_away(database: Database, monkeypatch: pytest.MonkeyPatch):
    from undercroft.flags import worker
    from undercroft.shared.errors import UnavailableError

    def away() -> None:
        raise UnavailableError("away")

    monkeypatch.setattr(database, "session", away)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await worker.run_schedules(database, poll_seconds=0.01)
