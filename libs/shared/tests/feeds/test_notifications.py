import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from undercroft.shared.notifications import NotificationListener, Subscription

UNREACHABLE = "postgresql+asyncpg://nobody@127.0.0.1:1/nowhere"


async def execute(url: str, statement: str) -> None:
    engine = create_async_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(sa.text(statement))
    await engine.dispose()


async def listening(listener: NotificationListener, channel: str) -> Subscription:
    """Subscribe and consume the wake-up that says that listening has begun."""
    subscription = listener.subscribe(channel)
    assert await subscription.wait(5)
    return subscription


async def kill_listeners(url: str) -> None:
    await execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'undercroft-notifications' AND datname = current_database()",
    )


async def test_a_notification_wakes_every_subscriber_of_its_channel(
    feed_database_url: str, listener: NotificationListener
):
    first, second = await listening(listener, "news"), listener.subscribe("news")
    other = await listening(listener, "other")
    await execute(feed_database_url, "NOTIFY news")
    assert await first.wait(5)
    assert await second.wait(5)
    assert not await other.wait(0.05)


async def test_a_wake_up_between_two_waits_is_kept(feed_database_url: str, listener: NotificationListener):
    subscription = await listening(listener, "news")
    await execute(feed_database_url, "NOTIFY news")
    await asyncio.sleep(0.1)
    assert await subscription.wait(0)
    assert not await subscription.wait(0)


async def test_a_wait_without_news_ends_after_its_timeout(listener: NotificationListener):
    subscription = await listening(listener, "news")
    async with asyncio.timeout(10):
        assert not await subscription.wait(0.1)


async def test_a_lost_connection_is_made_again_and_everybody_looks(
    feed_database_url: str, listener: NotificationListener
):
    subscription = await listening(listener, "news")
    await kill_listeners(feed_database_url)
    assert await subscription.wait(5)
    await execute(feed_database_url, "NOTIFY news")
    assert await subscription.wait(5)


async def test_a_dead_peer_is_found_by_the_heartbeat(feed_database_url: str):
    async with NotificationListener(feed_database_url, heartbeat_seconds=0.05) as listener:
        subscription = await listening(listener, "news")
        await asyncio.sleep(0.12)
        assert listener.is_connected
        assert not await subscription.wait(0)


async def test_an_unreachable_server_is_tried_again_without_failing_anybody():
    async with NotificationListener(UNREACHABLE) as listener:
        subscription = listener.subscribe("news")
        assert not await subscription.wait(0.3)
        assert not listener.is_connected


async def test_a_new_subscription_does_not_shorten_the_pause_before_the_next_try(
    monkeypatch: pytest.MonkeyPatch,
):
    tries = 0

    async def refuse(*_: object, **__: object) -> None:
        nonlocal tries
        tries += 1
        raise OSError

    monkeypatch.setattr("undercroft.shared.notifications.asyncpg.connect", refuse)
    async with NotificationListener(UNREACHABLE) as listener:
        for number in range(20):
            listener.subscribe(f"channel{number}")
            await asyncio.sleep(0.01)
    assert tries < 6


async def test_closing_ends_every_wait_at_once(feed_database_url: str):
    listener = NotificationListener(feed_database_url)
    async with listener:
        subscription = await listening(listener, "news")
        waiting = asyncio.create_task(subscription.wait(30))
        await asyncio.sleep(0)
    assert await asyncio.wait_for(waiting, 1)
    assert await subscription.wait(30)
    assert await listener.subscribe("late").wait(30)


async def test_closing_during_an_outage_does_not_wait_for_the_backoff(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("undercroft.shared.notifications._FIRST_BACKOFF_SECONDS", 600)
    async with asyncio.timeout(30), NotificationListener(UNREACHABLE) as listener:
        listener.subscribe("news")
        await asyncio.sleep(0.2)


async def test_closing_leaves_no_connection(feed_database_url: str):
    async with NotificationListener(feed_database_url) as listener:
        await listening(listener, "news")
    await asyncio.sleep(0.05)
    with pytest.raises(sa.exc.DBAPIError, match="division by zero"):
        await execute(
            feed_database_url,
            "SELECT 1 / count(*) FROM pg_stat_activity "
            "WHERE application_name = 'undercroft-notifications' AND datname = current_database()",
        )


async def test_a_closed_subscription_is_woken_no_more(feed_database_url: str, listener: NotificationListener):
    kept = await listening(listener, "news")
    with listener.subscribe("news") as closed:
        pass
    await execute(feed_database_url, "NOTIFY news")
    assert await kept.wait(5)
    assert not await closed.wait(0)


async def test_a_listener_that_was_never_opened_closes():
    listener = NotificationListener(UNREACHABLE)
    await listener.close()
    assert listener.is_closed
