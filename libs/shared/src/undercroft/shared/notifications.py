"""LISTEN/NOTIFY on one dedicated connection of a deployable: wakes whoever waits, carries no payload.

A notification is only a hint that something changed; what changed is read from the tables. That is why a
reconnect, during which notifications are lost, simply wakes everybody.
"""

import asyncio
import random
from types import TracebackType
from typing import Any, Final, Self

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy.engine import make_url

from undercroft.shared.logs import get_logger

_FIRST_BACKOFF_SECONDS: Final = 0.05
_MAX_BACKOFF_SECONDS: Final = 5.0
_CONNECT_TIMEOUT_SECONDS: Final = 5.0
_CLOSE_TIMEOUT_SECONDS: Final = 1.0
_HEARTBEAT_SECONDS: Final = 15.0

_logger = get_logger(__name__)


class Subscription:
    """One waiter on one channel; a wake-up between two waits is kept, never lost."""

    def __init__(self, listener: "NotificationListener", channel: str) -> None:
        self.channel = channel
        self._listener = listener
        self._event = asyncio.Event()

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for a wake-up since the last call; False after `timeout_seconds` without one.

        A closed listener answers True at once, so that nobody waits for a process that is stopping.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        if not self._listener.is_closed:
            self._event.clear()
        return True

    def wake(self) -> None:
        """End the current or the next wait."""
        self._event.set()

    def close(self) -> None:
        """Stop receiving wake-ups."""
        self._listener.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NotificationListener:
    """Keeps one connection that listens; reconnects with backoff for ever, never fails its users.

    `database_url` is the SQLAlchemy URL of the deployable. A connection pooler in transaction mode cannot carry
    LISTEN: the URL must reach PostgreSQL itself.
    """

    def __init__(self, database_url: str, *, heartbeat_seconds: float = _HEARTBEAT_SECONDS) -> None:
        self._dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._heartbeat_seconds = heartbeat_seconds
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._attention = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_closed = False
        self.is_connected = False

    def subscribe(self, channel: str) -> Subscription:
        """Start to listen on a channel; everybody on it is woken whenever listening begins or resumes."""
        subscription = Subscription(self, channel)
        if channel not in self._subscriptions:
            self._subscriptions[channel] = set()
            self._attention.set()
        self._subscriptions[channel].add(subscription)
        if self.is_closed:
            subscription.wake()
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Drop a subscription; the channel stays listened to, since long polls come and go by the second."""
        self._subscriptions[subscription.channel].discard(subscription)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="notification-listener")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Wake every waiter for good and close the connection."""
        self.is_closed = True
        self._wake(*self._subscriptions)
        self._attention.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def _run(self) -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        while not self.is_closed:
            try:
                await self._listen()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if self.is_connected:
                    backoff = _FIRST_BACKOFF_SECONDS
                _logger.warning(
                    "notifications_interrupted", error=type(error).__name__, retry_seconds=backoff
                )
                self.is_connected = False
                await self._pause(backoff * random.uniform(0.75, 1.25))  # noqa: S311  spreads replicas
                backoff = min(backoff * 2, _MAX_BACKOFF_SECONDS)
        self.is_connected = False

    async def _pause(self, seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.is_closed and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await self._wait_for_attention(left)

    async def _wait_for_attention(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._attention.wait()
        except TimeoutError:
            return False
        self._attention.clear()
        return True

    async def _listen(self) -> None:
        connection: Any = await asyncpg.connect(
            self._dsn,
            timeout=_CONNECT_TIMEOUT_SECONDS,
            command_timeout=_CONNECT_TIMEOUT_SECONDS,
            server_settings={"application_name": "undercroft-notifications"},
        )
        connection.add_termination_listener(lambda _: self._attention.set())
        listened: set[str] = set()
        try:
            while not self.is_closed:
                await self._listen_on_new_channels(connection, listened)
                self.is_connected = True
                if not await self._wait_for_attention(self._heartbeat_seconds) or connection.is_closed():
                    await connection.execute("SELECT 1")  # finds a dead peer; raises on a closed connection
        finally:
            await self._close_connection(connection)

    async def _listen_on_new_channels(self, connection: Any, listened: set[str]) -> None:
        for channel in set(self._subscriptions) - listened:
            await connection.add_listener(channel, self._on_notification)
            listened.add(channel)
            # What was sent before LISTEN took effect is lost: everybody looks once.
            self._wake(channel)

    def _on_notification(self, _connection: object, _pid: int, channel: str, _payload: object) -> None:
        self._wake(channel)

    def _wake(self, *channels: str) -> None:
        for channel in channels:
            for subscription in self._subscriptions[channel]:
                subscription.wake()

    @staticmethod
    async def _close_connection(connection: Any) -> None:
        if connection.is_closed():
            return
        try:
            await connection.close(timeout=_CLOSE_TIMEOUT_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
