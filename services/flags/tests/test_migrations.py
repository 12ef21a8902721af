"""The schema's history: from nothing to head, there and back, equal to the models, and the data that it moves."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from services.flags.tests.factories import definition
from sqlalchemy.ext.asyncio import AsyncConnection

from undercroft.shared.ids import new_uuid7
from undercroft.shared.migrations import (
    MigrationError,
    check,
    current_revision,
    downgrade,
    upgrade,
    upgrade_if_behind,
)
from undercroft.shared.serialization import dumps
from undercroft.shared.testing import autocommit_connection, power_cut

PACKAGE = "undercroft.flags"
# The last revision without the column, and the one that adds it.
WITHOUT_STATE, WITH_STATE = "1376af190aff", "621ac6c67681"
FLAGS = 2_500
# Every third is on; the state is not where a careless reader would look for it.
ON = {"variants": {"state": "DISABLED"}, "state": "ENABLED", "metadata": {"note": '"state":"DISABLED" \\'}}
OFF = {
    "variants": {"a": {"state": "ENABLED"}},
    "metadata": {"state": "ENABLED", "ключ": "🗝"},
    "state": "DISABLED",
}

CreateDatabase = Callable[[], Awaitable[str]]


class Existing(NamedTuple):
    """A database in which the version before defined flags `1` to `2500` in production."""

    url: str
    connection: AsyncConnection


@pytest.fixture
async def existing(create_database: CreateDatabase) -> AsyncIterator[Existing]:
    url = await create_database()
    await upgrade(url, PACKAGE, WITHOUT_STATE)
    async with autocommit_connection(url) as connection:
        await define(connection, *(ON if number % 3 == 0 else OFF for number in range(1, FLAGS + 1)))
        yield Existing(url, connection)


async def define(connection: AsyncConnection, *definitions: object, first: int = 1) -> None:
    """Write flags and their definitions as the version before did, without a state."""
    rows = [
        {"id": new_uuid7(), "key": str(number), "number": number, "content": dumps(each).decode()}
        for number, each in enumerate(definitions, first)
    ]
    await connection.execute(
        sa.text("""
            INSERT INTO flags.flags (id, key, type, description, tags, variants, revision)
            VALUES (:id, :key, 'boolean', '', '{}', '{}', :number) ON CONFLICT (key) DO NOTHING
        """),
        rows,
    )
    await connection.execute(
        sa.text("""
            INSERT INTO flags.definitions (environment_id, flag_id, position, content, revision)
            SELECT environment.id, flag.id, :number, :content, :number
            FROM flags.environments AS environment, flags.flags AS flag
            WHERE environment.key = 'production' AND flag.key = :key
            ON CONFLICT (environment_id, flag_id) DO UPDATE SET content = excluded.content
        """),
        rows,
    )


async def states(connection: AsyncConnection) -> dict[int, str | None]:
    """Return the state of every definition by the number of its flag."""
    statement = "SELECT key, state FROM flags.definitions JOIN flags.flags ON id = flag_id"
    return {int(row.key): row.state for row in await connection.execute(sa.text(statement))}


async def scalars(url: str, statement: str) -> list[object]:
    async with autocommit_connection(url) as connection:
        return list(await connection.scalars(sa.text(statement)))


EXPECTED = {number: "ENABLED" if number % 3 == 0 else "DISABLED" for number in range(1, FLAGS + 1)}


async def test_an_empty_database_comes_to_what_the_models_say(create_database: CreateDatabase):
    url = await create_database()
    assert await upgrade_if_behind(url, PACKAGE) is True
    await check(url, PACKAGE)
    assert await upgrade_if_behind(url, PACKAGE) is False


async def test_the_first_migration_brings_the_usual_environments(create_database: CreateDatabase):
    url = await create_database()
    await upgrade_if_behind(url, PACKAGE)
    keys = await scalars(url, "SELECT key FROM flags.environments ORDER BY id")
    assert keys == ["production", "staging", "development"]
    assert len(set(await scalars(url, "SELECT version FROM flags.environments"))) == 3


async def test_a_schema_can_go_back_to_nothing_and_forth_again(create_database: CreateDatabase):
    url = await create_database()
    await upgrade_if_behind(url, PACKAGE)
    await downgrade(url, PACKAGE, "base")
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'flags'"
    assert await scalars(url, tables) == ["alembic_version"]
    functions = "SELECT proname FROM pg_proc WHERE pronamespace = CAST('flags' AS regnamespace)"
    assert await scalars(url, functions) == []
    assert await upgrade_if_behind(url, PACKAGE) is True


async def test_every_definition_gets_the_state_that_its_text_says(existing: Existing):
    url, connection = existing
    await upgrade_if_behind(url, PACKAGE)
    assert await states(connection) == EXPECTED
    await check(url, PACKAGE)


@pytest.mark.parametrize(
    ("content", "state"),
    [
        ({}, "DISABLED"),
        ({"state": None, "variants": {}}, "DISABLED"),
        ({"state": "enabled"}, "DISABLED"),
        (definition(variants={"nul": "\0", "\\u0000": "\\", "quotes": '"},"state":"DISABLED"'}), "ENABLED"),
        (
            definition(
                state="DISABLED", variants={"\0state": "ENABLED", "\\": [[[1e308, 5e-324, 2**64 - 1]]]}
            ),
            "DISABLED",
        ),
        (definition(variants={"größe": "x" * 250_000, "\u2028": "\ud7ff"}), "ENABLED"),
    ],
)
async def test_an_odd_definition_gets_a_state_too(
    create_database: CreateDatabase, content: object, state: str
):
    url = await create_database()
    await upgrade(url, PACKAGE, WITHOUT_STATE)
    async with autocommit_connection(url) as connection:
        await define(connection, content)
        await upgrade_if_behind(url, PACKAGE)
        assert await states(connection) == {1: state}


async def test_a_cut_off_fill_goes_on_where_it_stopped(existing: Existing):
    url, connection = existing
    async with power_cut(connection, "flags.definitions", at=f"NEW.revision = {FLAGS}"):
        with pytest.raises(MigrationError, match="power cut"):
            await upgrade_if_behind(url, PACKAGE)
    filled = await scalars(url, "SELECT count(state) FROM flags.definitions")
    assert filled == [2_000]
    assert await current_revision(connection, "flags") == WITH_STATE
    assert await upgrade_if_behind(url, PACKAGE) is True
    assert await states(connection) == EXPECTED


async def test_a_second_fill_touches_no_definition(existing: Existing):
    url, _ = existing
    await upgrade_if_behind(url, PACKAGE)
    versions = "SELECT xmin FROM flags.definitions ORDER BY revision"
    before = await scalars(url, versions)
    await downgrade(url, PACKAGE, WITH_STATE)
    assert await upgrade_if_behind(url, PACKAGE) is True
    assert await scalars(url, versions) == before


@pytest.mark.parametrize("revision", [WITH_STATE, "heads"])
async def test_the_version_before_writes_definitions_on_the_new_schema(existing: Existing, revision: str):
    url, connection = existing
    await upgrade(url, PACKAGE, revision)
    await define(connection, ON, OFF, ON, first=FLAGS)
    await define(connection, OFF, ON, OFF, first=FLAGS)
    found = await states(connection)
    assert [found[FLAGS + number] for number in range(3)] == ["DISABLED", "ENABLED", "DISABLED"]
    await upgrade_if_behind(url, PACKAGE)
    assert len(await states(connection)) == FLAGS + 2


async def test_going_back_loses_the_states_and_no_definition(existing: Existing):
    url, _ = existing
    await upgrade_if_behind(url, PACKAGE)
    await downgrade(url, PACKAGE, WITHOUT_STATE)
    contents = await scalars(url, "SELECT content FROM flags.definitions ORDER BY revision")
    assert contents[:3] == [dumps(OFF).decode(), dumps(OFF).decode(), dumps(ON).decode()]
    assert len(contents) == FLAGS
