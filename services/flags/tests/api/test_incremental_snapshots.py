"""A replica that reads only what changed holds what a replica holds that reads all of it."""

from collections.abc import Mapping
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from services.flags.tests.factories import by_rules, condition, definition, document, targeted

from undercroft.flags.main import install
from undercroft.flags.repository.snapshots import Horizon, SnapshotRepository, StoredChanges
from undercroft.flags.service.snapshots import SnapshotRefresher, SnapshotStore
from undercroft.shared.db import Database

PRODUCTION = "/v1/environments/production/flagd"
SEGMENT = {"key": "team", "conditions": [condition("plan", "equals", "team")]}
RULE = {"conditions": [{"operator": "in_segment", "value": "team"}], "variant": "on"}


@pytest.fixture
def whole_readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many environments were read whole, one entry a reading."""
    readings: list[int] = []
    load = SnapshotRepository.load

    async def counted(self: SnapshotRepository, environment_ids: list[UUID]) -> object:
        readings.append(len(environment_ids))
        return await load(self, environment_ids)

    monkeypatch.setattr(SnapshotRepository, "load", counted)
    return readings


@pytest.fixture(autouse=True)
async def flags(client: httpx.AsyncClient) -> None:
    """Three flags in production."""
    await client.put(
        PRODUCTION,
        json=document(one=definition(), two=targeted({"if": [{"var": "x"}, "on"]}), three=definition()),
    )


async def held(app: FastAPI) -> Mapping[str, str]:
    """Return the version of each environment's flags in a store; a digest of all definitions."""
    store: SnapshotStore = app.state.snapshot_store
    return {snapshot.key: snapshot.flags.version for snapshot in store.all()}


async def assert_as_read_whole(app: FastAPI, database: Database) -> None:
    fresh = FastAPI()
    fresh.state.settings = app.state.settings
    install(fresh, database)
    refresher: SnapshotRefresher = fresh.state.snapshot_refresher
    await refresher.refresh()
    assert await held(app) == await held(fresh)


@pytest.mark.parametrize(
    "change",
    [
        ("PUT", "/v1/flags/one/environments/production", definition(state="DISABLED")),
        ("PATCH", "/v1/flags/one", {"description": "of no concern"}),
        ("DELETE", "/v1/flags/one", None),
        ("PUT", "/v1/flags/two/environments/staging", definition()),
        ("PATCH", "/v1/environments/production", {"name": "Live"}),
        (
            "POST",
            "/v1/flags/bulk",
            {
                "changes": [
                    {"flag": key, "environment": "production", "state": "DISABLED"} for key in ("one", "two")
                ]
            },
        ),
    ],
)
async def test_a_change_is_read_alone(
    app: FastAPI,
    client: httpx.AsyncClient,
    database: Database,
    whole_readings: list[int],
    change: tuple[str, str, object],
):
    method, path, body = change
    answer = await client.request(method, path, json=body)
    assert answer.is_success, answer.text
    assert whole_readings == []
    await assert_as_read_whole(app, database)


async def test_an_archived_flag_that_returns_is_read_alone(
    app: FastAPI, client: httpx.AsyncClient, database: Database, whole_readings: list[int]
):
    before = await held(app)
    await client.delete("/v1/flags/one")
    assert await held(app) != before
    assert (await client.patch("/v1/flags/one", json={"archived": False})).is_success
    assert (await held(app), whole_readings) == (before, [])
    await assert_as_read_whole(app, database)


async def test_what_the_document_drops_is_gone(app: FastAPI, client: httpx.AsyncClient, database: Database):
    await client.put(PRODUCTION, json=document(one=definition(), four=definition()))
    await assert_as_read_whole(app, database)
    answer = await client.post("/ofrep/v1/evaluate/flags", json={})
    assert [flag["key"] for flag in answer.json()["flags"]] == ["four", "one"]


async def test_a_changed_segment_and_a_changed_prerequisite_reach_who_uses_them(
    app: FastAPI, client: httpx.AsyncClient, database: Database
):
    assert (await client.post("/v1/segments", json=SEGMENT)).is_success
    assert (await client.put("/v1/flags/one/environments/production", json=by_rules(RULE))).is_success
    required = by_rules(prerequisites=[{"flag": "one", "variants": ["on"]}])
    assert (await client.put("/v1/flags/two/environments/production", json=required)).is_success
    await assert_as_read_whole(app, database)
    other = {"conditions": [condition("plan", "equals", "pro")]}
    assert (await client.patch("/v1/segments/team", json=other)).is_success
    await assert_as_read_whole(app, database)
    assert (await client.put("/v1/flags/one/environments/production", json=definition())).is_success
    await assert_as_read_whole(app, database)


async def test_changes_are_not_told_across_half_the_range_of_transactions(app: FastAPI, database: Database):
    store: SnapshotStore = app.state.snapshot_store
    snapshot = store.find("production")
    assert snapshot is not None
    long_ago = Horizon(snapshot.horizon.transaction - 2**31, snapshot.horizon.frame)
    async with database.session() as session:
        repository = SnapshotRepository(session)
        told = [await repository.changes(snapshot.environment_id, at) for at in (snapshot.horizon, long_ago)]
        gone = await repository.changes(UUID(int=0), snapshot.horizon)
    assert [isinstance(each, StoredChanges) for each in (*told, gone)] == [True, False, False]
