"""The schema's history: from nothing to head, there and back, and equal to the models."""

from collections.abc import Awaitable, Callable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from undercroft.shared.migrations import check, downgrade, upgrade_if_behind

PACKAGE = "undercroft.flags"

CreateDatabase = Callable[[], Awaitable[str]]


async def scalars(url: str, statement: str) -> list[object]:
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        rows = (await connection.scalars(sa.text(statement))).all()
    await engine.dispose()
    return list(rows)


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
    assert await upgrade_if_behind(url, PACKAGE) is True
