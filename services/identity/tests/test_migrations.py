from collections.abc import Awaitable, Callable

from undercroft.shared import migrations

PACKAGE = "undercroft.identity"


async def test_an_empty_database_reaches_the_head_and_matches_the_models(
    create_database: Callable[[], Awaitable[str]],
):
    url = await create_database()
    assert await migrations.upgrade_if_behind(url, PACKAGE) is True
    await migrations.check(url, PACKAGE)
    assert await migrations.upgrade_if_behind(url, PACKAGE) is False


async def test_down_to_the_base_and_up_again(create_database: Callable[[], Awaitable[str]]):
    url = await create_database()
    await migrations.upgrade_if_behind(url, PACKAGE)
    await migrations.downgrade(url, PACKAGE, "base")
    await migrations.upgrade(url, PACKAGE)
    await migrations.check(url, PACKAGE)


def test_there_is_one_head():
    assert migrations.heads(PACKAGE) == [migrations.head_revision(PACKAGE)]
