import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from undercroft.shared.db import Database
from undercroft.shared.events import CloudEvent, CursorGoneError, CursorInvalidError, Event
from undercroft.shared.events.outbox import (
    RETENTION,
    START,
    Batch,
    Cursor,
    check_cursor,
    prune_outbox,
    publish,
    read_batch,
    tail_cursor,
)
from undercroft.shared.ids import TypeId

Emit = Callable[..., Awaitable[None]]
ORGANIZATION = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


async def settled(database: Database, outbox: sa.Table, after: Cursor = START) -> Batch:
    """Read once nothing is pending: the server's own housekeeping runs transactions too."""
    while (batch := await read(database, outbox, after)).is_pending:  # noqa: ASYNC110  nothing tells
        await asyncio.sleep(0.01)
    return batch


async def read(database: Database, outbox: sa.Table, after: Cursor = START, *, limit: int = 100) -> Batch:
    async with database.session() as session:
        return await read_batch(session, outbox, after=after, limit=limit)


async def tail(database: Database) -> Cursor:
    async with database.session() as session:
        return await tail_cursor(session)


async def check(database: Database, outbox: sa.Table, cursor: Cursor) -> None:
    async with database.session() as session:
        await check_cursor(session, outbox, cursor)


async def prune(database: Database, outbox: sa.Table) -> int:
    async with database.begin() as session:
        return await prune_outbox(session, outbox, now=datetime.now(UTC))


async def age_events(database: Database, outbox: sa.Table, days: int) -> None:
    async with database.begin() as session:
        await session.execute(sa.update(outbox).values(time=outbox.c.time - timedelta(days=days)))


def subjects(batch: Batch) -> list[str]:
    return [event.subject for event in batch.events]


async def test_an_event_is_served_as_a_cloud_event(database: Database, outbox: sa.Table):
    event = Event(
        type="dev.undercroft.api_key.revoked",
        subject="key_1",
        data={"name": "CI", "none": None},
        organization_id=ORGANIZATION,
        actor="usr_1",
    )
    async with database.begin() as session:
        await publish(session, outbox, event)
    (served,) = (await settled(database, outbox)).events
    body = served.model_dump(mode="json", by_alias=True)
    assert TypeId.parse(body.pop("id"), expect="evt")
    assert datetime.fromisoformat(body.pop("time")).tzinfo is not None
    assert body == {
        "specversion": "1.0",
        "source": f"/{outbox.schema}",
        "type": "dev.undercroft.api_key.revoked",
        "subject": "key_1",
        "datacontenttype": "application/json",
        "organizationid": str(TypeId("org", ORGANIZATION)),
        "actor": "usr_1",
        "data": {"name": "CI", "none": None},
    }
    assert CloudEvent.model_validate_json(served.model_dump_json(by_alias=True)) == served


def test_an_event_without_the_house_prefix_is_a_mistake():
    with pytest.raises(ValueError, match=r"does not begin with dev.undercroft."):
        Event(type="api_key.revoked", subject="key_1")


async def test_events_come_in_order_and_in_pages(database: Database, outbox: sa.Table, emit: Emit):
    await emit("a", "b")
    await emit("c")
    first = await read(database, outbox, limit=2)
    second = await read(database, outbox, first.cursor, limit=2)
    assert (subjects(first), subjects(second)) == (["a", "b"], ["c"])
    assert (await read(database, outbox, second.cursor)) == ([], second.cursor, False)


async def test_a_transaction_that_commits_late_is_neither_skipped_nor_served_twice(
    database: Database, outbox: sa.Table, emit: Emit
):
    async with database.session() as early, database.session() as late:
        await emit("early-1", session=early)
        await emit("late-1", session=late)
        await emit("early-2", session=early)
        await late.commit()
        before = await read(database, outbox)
        await early.commit()
        after = await settled(database, outbox, before.cursor)
    assert (subjects(before), before.is_pending) == ([], True)
    assert subjects(after) == ["early-1", "early-2", "late-1"]
    assert subjects(await settled(database, outbox, after.cursor)) == []


async def test_events_below_an_open_transaction_are_served_meanwhile(
    database: Database, outbox: sa.Table, emit: Emit
):
    await emit("first")
    async with database.session() as running:
        await emit("running", session=running)
        await emit("behind")
        batch = await read(database, outbox)
        rest_before = await read(database, outbox, batch.cursor)
        await running.commit()
    assert (subjects(batch), subjects(rest_before)) == (["first"], [])
    assert subjects(await settled(database, outbox, batch.cursor)) == ["running", "behind"]


async def test_a_rolled_back_transaction_leaves_no_event_and_blocks_nothing(
    database: Database, outbox: sa.Table, emit: Emit
):
    async with database.session() as undone:
        await emit("undone", session=undone)
        await emit("kept")
        assert (await read(database, outbox)).is_pending
        await undone.rollback()
    assert subjects(await settled(database, outbox)) == ["kept"]


async def test_the_tail_lies_before_everything_that_is_not_yet_settled(
    database: Database, outbox: sa.Table, emit: Emit
):
    await emit("old")
    async with database.session() as running:
        await emit("running", session=running)
        cursor = await tail(database)
        await running.commit()
    await emit("new")
    assert subjects(await settled(database, outbox, cursor)) == ["running", "new"]


def test_a_cursor_survives_its_encoding():
    cursor = Cursor(2**40, 7)
    assert Cursor.decode(cursor.encode()) == cursor


@pytest.mark.parametrize(
    "value", ["", "!", "MQ", "MS4yLjM", "LTEuMg", "é", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5LjE", "a" * 5]
)
def test_a_malformed_cursor_is_refused(value: str):
    with pytest.raises(CursorInvalidError) as caught:
        Cursor.decode(value)
    assert (caught.value.status, caught.value.code) == (400, "feed_cursor_invalid")


async def test_pruning_keeps_young_events(database: Database, outbox: sa.Table, emit: Emit):
    await emit("a", "b")
    await age_events(database, outbox, 34)
    assert await prune(database, outbox) == 0
    assert subjects(await settled(database, outbox)) == ["a", "b"]


async def test_pruning_keeps_the_newest_expired_event_as_a_mark(
    database: Database, outbox: sa.Table, emit: Emit
):
    await emit("a", "b", "c")
    await age_events(database, outbox, 36)
    await emit("d")
    assert (await prune(database, outbox), await prune(database, outbox)) == (2, 0)
    assert subjects(await settled(database, outbox)) == ["c", "d"]


async def test_pruning_goes_in_bounded_batches(
    database: Database, outbox: sa.Table, emit: Emit, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("undercroft.shared.events.outbox._PRUNE_BATCH", 3)
    await emit("a", "b", "c", "d", "e")
    await age_events(database, outbox, 36)
    assert [await prune(database, outbox) for _ in range(3)] == [2, 2, 0]
    assert subjects(await settled(database, outbox)) == ["e"]


async def test_a_cursor_behind_pruned_events_is_gone(database: Database, outbox: sa.Table, emit: Emit):
    await emit("a")
    cursor = (await settled(database, outbox)).cursor
    await emit("b", "c")
    await age_events(database, outbox, 36)
    await prune(database, outbox)
    with pytest.raises(CursorGoneError) as caught:
        await check(database, outbox, cursor)
    assert (caught.value.status, caught.value.code) == (410, "feed_cursor_gone")


async def test_a_consumer_that_read_everything_keeps_its_cursor_however_old(
    database: Database, outbox: sa.Table, emit: Emit
):
    await emit("a", "b")
    cursor = (await settled(database, outbox)).cursor
    await age_events(database, outbox, 100)
    await prune(database, outbox)
    await check(database, outbox, cursor)
    await emit("c")
    assert subjects(await settled(database, outbox, cursor)) == ["c"]


async def test_a_cursor_older_than_every_event_holds_while_none_is_pruned(
    database: Database, outbox: sa.Table, emit: Emit
):
    cursor = await tail(database)
    await emit("a")
    await check(database, outbox, cursor)
    assert subjects(await settled(database, outbox, cursor)) == ["a"]


async def test_a_cursor_on_an_empty_outbox_holds(database: Database, outbox: sa.Table):
    await check(database, outbox, await tail(database))


async def test_a_cursor_of_another_database_is_gone(database: Database, outbox: sa.Table):
    with pytest.raises(CursorGoneError):
        await check(database, outbox, Cursor((await tail(database)).transaction_id + 1_000_000, 0))


async def test_the_order_of_the_feed_is_an_index(database: Database, outbox: sa.Table):
    async with database.session() as session:
        await session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = await session.scalars(
            sa.text(
                f"EXPLAIN SELECT * FROM {outbox.schema}.outbox WHERE (transaction_id, sequence) > ('5'::xid8, 1) "
                "AND transaction_id < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY transaction_id, sequence LIMIT 5"
            )
        )
        assert "Index Scan using pk_outbox" in "\n".join(plan)


def test_events_are_kept_35_days():
    assert RETENTION.days == 35
