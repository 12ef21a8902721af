"""Snapshots of whole replicas on a real database: how changes arrive, and what happens without PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from services.flags.tests.conftest import Replica
from services.flags.tests.database_gate import DatabaseGate
from services.flags.tests.factories import definition, document
from sqlalchemy.ext.asyncio import AsyncEngine

from undercroft.flags.repository.snapshots import Horizon, SnapshotRepository
from undercroft.flags.service.snapshots import SnapshotRefresher
from undercroft.shared.testing import service_headers

DOCUMENT = "/v1/environments/production/flagd"
DEFINITION = "/v1/flags/switch/environments/production"
ONE = "/ofrep/v1/evaluate/flags/switch"
OFF = definition(defaultVariant="off")


async def run(admin: AsyncEngine, statement: str) -> None:
    async with admin.connect() as connection:
        await connection.execute(sa.text(statement))


async def value_of(client: httpx.AsyncClient) -> object:
    return (await client.post(ONE, json={})).json().get("value")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110  it is on the other side of HTTP
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("admin")
async def test_a_change_is_visible_at_once_to_who_made_it_and_soon_in_every_replica(replica: Replica):
    async with replica() as one, replica(snapshot_poll_seconds=60) as other:
        await one.put(DOCUMENT, json=document(switch=definition()))
        assert await value_of(one) is True

        async def has_arrived() -> bool:
            return await value_of(other) is True

        await until(has_arrived)


async def test_a_change_without_a_notification_arrives_by_polling(admin: AsyncEngine, replica: Replica):
    async with replica(snapshot_poll_seconds=0.2) as client:
        await client.put(DOCUMENT, json=document(switch=definition()))
        await run(admin, "UPDATE flags.definitions SET content = replace(content, '\"on\",', '\"off\",')")
        await run(admin, "UPDATE flags.definitions SET content = replace(content, '\"on\"}', '\"off\"}')")
        await run(admin, "UPDATE flags.environments SET version = nextval('flags.revisions')")

        async def has_arrived() -> bool:
            return await value_of(client) is False

        await until(has_arrived)


@pytest.mark.usefixtures("admin")
async def test_flags_are_evaluated_while_postgres_is_away(gate: DatabaseGate, replica: Replica):
    async with replica(snapshot_poll_seconds=0.1) as client:
        await client.put(DOCUMENT, json=document(switch=definition()))
        gate.close()
        assert await value_of(client) is True
        refused = await client.put(DEFINITION, json=OFF)
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
        ready = (await client.get("/readyz")).json()
        assert [ready["checks"][name][0]["status"] for name in ("database", "snapshots")] == ["warn", "pass"]
        gate.open()

        async def is_writable() -> bool:
            return (await client.put(DEFINITION, json=OFF)).status_code == 200

        await until(is_writable)
        assert await value_of(client) is False


@pytest.mark.usefixtures("admin")
async def test_the_age_of_the_snapshots_grows_while_postgres_is_away(gate: DatabaseGate, replica: Replica):
    async with replica(snapshot_poll_seconds=0.05) as client:
        gate.close()
        await asyncio.sleep(0.4)
        ready = (await client.get("/readyz")).json()
        assert (ready["status"], ready["checks"]["snapshots"][0]["ageSeconds"] > 0.3) == ("warn", True)


@pytest.mark.usefixtures("admin")
async def test_a_replica_starts_without_postgres_and_catches_up(gate: DatabaseGate, replica: Replica):
    gate.close()
    async with replica(snapshot_poll_seconds=0.1) as client:
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.post(ONE, json={})).status_code == 503
        gate.open()

        async def is_ready() -> bool:
            return (await client.get("/readyz")).json()["status"] == "pass"

        await until(is_ready)
        assert (await client.post(ONE, json={})).json()["errorCode"] == "FLAG_NOT_FOUND"


@pytest.mark.usefixtures("admin")
async def test_a_commit_stands_when_postgres_goes_away_right_after_it(
    gate: DatabaseGate, replica: Replica, monkeypatch: pytest.MonkeyPatch
):
    async with replica(snapshot_poll_seconds=60) as client:
        await client.post("/v1/flags", json={"key": "switch", "type": "boolean"})
        refresh, request = SnapshotRefresher.refresh, asyncio.current_task()

        async def refresh_without_postgres(self: SnapshotRefresher) -> None:
            if asyncio.current_task() is request:  # and not the worker, which may still be at the new flag
                gate.close()
            await refresh(self)

        with monkeypatch.context() as patched:
            patched.setattr(SnapshotRefresher, "refresh", refresh_without_postgres)
            stored = await client.put(DEFINITION, json=definition())
        assert stored.status_code == 200
        gate.open()

        async def is_there() -> bool:
            return (await client.get(DEFINITION)).headers.get("ETag") == stored.headers["ETag"]

        await until(is_there)


@pytest.mark.usefixtures("admin")
async def test_readiness_shows_age_and_version_of_the_snapshots(replica: Replica):
    async with replica() as client:
        await client.put(DOCUMENT, json=document(switch=definition()))
        etag = (await client.get(DOCUMENT)).headers["ETag"]
        ready = (await client.get("/readyz")).json()
        snapshots = ready["checks"]["snapshots"][0]
        assert (ready["status"], snapshots["versions"]["production"]) == ("pass", int(etag.strip('"')))
        assert 0 <= snapshots["ageSeconds"] < 60


@pytest.mark.usefixtures("admin")
async def test_of_two_changes_with_the_same_etag_exactly_one_wins(replica: Replica):
    async with replica() as client:
        await client.post("/v1/flags", json={"key": "switch", "type": "boolean"})
        etag = (await client.put(DEFINITION, json=definition())).headers["ETag"]
        answers = await asyncio.gather(
            *(
                client.put(DEFINITION, json=definition(metadata={"n": number}), headers={"If-Match": etag})
                for number in range(6)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412, 412]


@pytest.mark.usefixtures("admin")
async def test_concurrent_imports_of_the_same_new_flags_into_two_environments_both_succeed(replica: Replica):
    flags = {f"flag_{number}": definition() for number in range(20)}
    backwards = dict(reversed(flags.items()))
    async with replica() as client:
        answers = await asyncio.gather(
            client.put(DOCUMENT, json=document(**flags)),
            client.put("/v1/environments/staging/flagd", json=document(**backwards)),
        )
        assert [answer.json().get("created") for answer in answers] == [20, 20]
        items = (await client.get("/v1/flags", params={"limit": 200})).json()["items"]
        assert len(items) == 20


@pytest.mark.usefixtures("admin")
async def test_no_bulk_answer_is_half_old_and_half_new(replica: Replica):
    async with replica() as writer, replica() as reader:
        for number in range(10):
            variants = {"on": number}
            flags = {f"flag_{index}": definition(variants=variants) for index in range(5)}
            await writer.put(DOCUMENT, json=document(**flags))
            seen = (await reader.post("/ofrep/v1/evaluate/flags", json={})).json()["flags"]
            assert len({flag["value"] for flag in seen}) <= 1


@pytest.mark.usefixtures("admin")
async def test_of_many_flags_only_the_changed_one_is_read(replica: Replica, monkeypatch: pytest.MonkeyPatch):
    read: list[set[str]] = []
    changes = SnapshotRepository.changes

    async def watched(self: SnapshotRepository, environment_id: UUID, since: Horizon) -> object:
        found = await changes(self, environment_id, since)
        read.append(set(found.definitions) if found else set())
        return found

    async with replica(snapshot_poll_seconds=60) as client:
        flags = {f"flag_{number}": definition() for number in range(30)}
        await client.put(DOCUMENT, json=document(switch=definition(), **flags))
        await client.put(DEFINITION, json=OFF)
        monkeypatch.setattr(SnapshotRepository, "changes", watched)
        await client.put(DEFINITION, json=definition())
        assert await value_of(client) is True
        assert set().union(*read) == {"switch"}


@pytest.mark.usefixtures("admin")
async def test_events_reach_the_feed(replica: Replica):
    headers = service_headers("identity", audience="flags")
    async with replica() as client:
        tail = (await client.get("/internal/events", headers=headers)).json()["nextCursor"]
        await client.put(DOCUMENT, json=document(switch=definition()))
        page = await client.get("/internal/events", params={"after": tail, "wait": 2}, headers=headers)
        types = [event["type"].removeprefix("dev.undercroft.") for event in page.json()["items"]]
        assert types == ["flag.created", "flag.updated", "environment.changed"]
