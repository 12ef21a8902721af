"""The schema's history: from nothing to head and back, and the data that its migrations move."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from undercroft.shared import migrations
from undercroft.shared.ids import TypeId, new_uuid7
from undercroft.shared.testing import autocommit_connection, power_cut

PACKAGE = "undercroft.identity"
# The last revision without the column, and the one that adds it.
WITHOUT_SECRET_CREATED_AT, WITH_SECRET_CREATED_AT = "e234ee09e8ff", "9c41d07be2a6"
KEYS = 2_500

CreateDatabase = Callable[[], Awaitable[str]]


class Existing(NamedTuple):
    """A database in which the version before made keys, named by their number, oldest first."""

    url: str
    connection: AsyncConnection
    ids: list[UUID]


@pytest.fixture
async def existing(create_database: CreateDatabase) -> AsyncIterator[Existing]:
    url = await create_database()
    await migrations.upgrade(url, PACKAGE, WITHOUT_SECRET_CREATED_AT)
    async with autocommit_connection(url) as connection:
        await insert_keys(connection, KEYS)
        ids = await connection.scalars(sa.text("SELECT id FROM identity.api_keys ORDER BY id"))
        yield Existing(url, connection, list(ids))


async def insert_keys(connection: AsyncConnection, count: int) -> None:
    await connection.execute(
        sa.text("""
            INSERT INTO identity.api_keys (id, name, mode, scopes, secret_hash, revision, created_by, created_at)
            SELECT uuidv7(), n, 'live', '{}', '', 1, 'system', timestamptz '2025-01-01Z' + n * interval '1 hour'
            FROM generate_series(1, :count) AS n
        """),
        {"count": count},
    )


async def tell(connection: AsyncConnection, happening: str, key_id: UUID, at: datetime) -> None:
    statement = (
        "INSERT INTO identity.outbox (id, type, subject, time, data) VALUES (:id, :type, :subject, :at, '{}')"
    )
    event = {"type": f"dev.undercroft.api_key.{happening}", "subject": str(TypeId("key", key_id)), "at": at}
    await connection.execute(sa.text(statement), {"id": new_uuid7(), **event})


async def younger_secrets(connection: AsyncConnection) -> dict[UUID, datetime]:
    """Return when those secrets were made that are not as old as their keys; one that is unknown is an error."""
    rows = await connection.execute(
        sa.text("SELECT id, secret_created_at FROM identity.api_keys WHERE secret_created_at <> created_at")
    )
    unknown = await connection.scalar(
        sa.text("SELECT count(*) FROM identity.api_keys WHERE secret_created_at IS NULL")
    )
    assert unknown == 0
    return {row.id: row.secret_created_at for row in rows}


async def test_an_empty_database_reaches_the_head_and_matches_the_models(create_database: CreateDatabase):
    url = await create_database()
    assert await migrations.upgrade_if_behind(url, PACKAGE) is True
    await migrations.check(url, PACKAGE)
    assert await migrations.upgrade_if_behind(url, PACKAGE) is False


async def test_down_to_the_base_and_up_again(create_database: CreateDatabase):
    url = await create_database()
    await migrations.upgrade_if_behind(url, PACKAGE)
    await migrations.downgrade(url, PACKAGE, "base")
    await migrations.upgrade(url, PACKAGE)
    await migrations.check(url, PACKAGE)


def test_there_is_one_head():
    assert migrations.heads(PACKAGE) == [migrations.head_revision(PACKAGE)]


async def test_every_secret_is_as_old_as_its_key_or_its_last_rotation(existing: Existing):
    url, connection, ids = existing
    first, last = datetime(2026, 10, 20, tzinfo=UTC), datetime(2026, 11, 1, 12, 30, 0, 5, tzinfo=UTC)
    for key_id, at in (
        (ids[0], first),
        (ids[1], first),
        (ids[1], last),
        (ids[-1], first),
        (new_uuid7(), last),
    ):
        await tell(connection, "rotated", key_id, at)
    for happening in ("created", "updated"):
        await tell(connection, happening, ids[2], last)
    await migrations.upgrade_if_behind(url, PACKAGE)
    assert await younger_secrets(connection) == {ids[0]: first, ids[1]: last, ids[-1]: first}
    await migrations.check(url, PACKAGE)


async def test_a_cut_off_fill_goes_on_where_it_stopped(existing: Existing):
    url, connection, ids = existing
    await tell(connection, "rotated", ids[1_500], rotated_at := datetime(2026, 11, 1, tzinfo=UTC))
    async with power_cut(connection, "identity.api_keys", at=f"NEW.id = '{ids[1_500]}'"):
        with pytest.raises(migrations.MigrationError, match="power cut"):
            await migrations.upgrade_if_behind(url, PACKAGE)
    filled = await connection.scalar(sa.text("SELECT count(secret_created_at) FROM identity.api_keys"))
    assert filled == 1_000
    assert await migrations.current_revision(connection, "identity") == WITH_SECRET_CREATED_AT
    assert await migrations.upgrade_if_behind(url, PACKAGE) is True
    assert await younger_secrets(connection) == {ids[1_500]: rotated_at}


async def test_a_second_fill_keeps_what_was_written_since_the_first(existing: Existing):
    url, connection, ids = existing
    await migrations.upgrade_if_behind(url, PACKAGE)
    rotated_at = datetime(2026, 11, 20, tzinfo=UTC)
    await connection.execute(
        sa.text("UPDATE identity.api_keys SET secret_created_at = :at WHERE id = :id"),
        {"at": rotated_at, "id": ids[7]},
    )
    await migrations.downgrade(url, PACKAGE, WITH_SECRET_CREATED_AT)
    assert await migrations.upgrade_if_behind(url, PACKAGE) is True
    assert await younger_secrets(connection) == {ids[7]: rotated_at}


async def test_the_version_before_makes_keys_on_the_new_schema(existing: Existing):
    url, connection, ids = existing
    await migrations.upgrade_if_behind(url, PACKAGE)
    await insert_keys(connection, 1)
    ((key_id, made_at),) = (await younger_secrets(connection)).items()
    assert key_id not in ids
    assert abs((datetime.now(UTC) - made_at).total_seconds()) < 60


async def test_going_back_loses_the_ages_and_no_key(existing: Existing):
    url, connection, ids = existing
    await migrations.upgrade_if_behind(url, PACKAGE)
    await migrations.downgrade(url, PACKAGE, WITHOUT_SECRET_CREATED_AT)
    keys = (await connection.execute(sa.text("SELECT * FROM identity.api_keys ORDER BY id"))).mappings().all()
    assert [key["id"] for key in keys] == ids
    assert "secret_created_at" not in keys[0]
