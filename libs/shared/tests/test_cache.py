import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import structlog
from cashews import Cache
from pydantic import SecretStr

from undercroft.shared.cache import CacheUnavailableError, KeySpace, close_cache, count, make_cache

KEYS = KeySpace("gateway")


class RedisServer:
    """A redis-server of our own that can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.directory = directory
        self.url = SecretStr(f"redis://127.0.0.1:{self.port}/0")

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--save", "", "--dir", str(self.directory)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=0.1):
                return
            time.sleep(0.05)
        raise AssertionError("redis-server did not start")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def opened(cache: Cache) -> AsyncIterator[Cache]:
    try:
        yield cache
    finally:
        await close_cache(cache)


@pytest.fixture
async def memory() -> AsyncIterator[Cache]:
    async with opened(make_cache(None, prefix="gateway", memory_size=100)) as cache:
        yield cache


def test_parts_of_a_key_cannot_forge_another():
    assert KEYS.key("a", "b") == "gateway:a:b"
    assert KEYS.key("a:b") != KEYS.key("a", "b")
    assert KEYS.key("a%3Ab") != KEYS.key("a:b")


async def test_memory_is_bounded(memory: Cache):
    for number in range(200):
        await memory.set(f"k{number}", number)
    assert await memory.get("k199") == 199
    assert await memory.get("k0") is None


async def test_a_flood_of_values_does_not_evict_tags(memory: Cache):
    await memory.set("kept", 1, expire=60, tags=["tag"])
    for number in range(99):
        await memory.set(f"k{number}", number)
    await memory.delete_tags("tag")
    assert await memory.get("kept") is None


async def test_tags_delete_what_carries_them(memory: Cache):
    await memory.set("a", 1, expire=60, tags=["one", "both"])
    await memory.set("b", 2, expire=60, tags=["both"])
    await memory.delete_tags("one")
    assert (await memory.get("a"), await memory.get("b")) == (None, 2)


async def test_counting_by_more_than_one_ends_too(memory: Cache):
    assert await count(memory, "c", 20, life_seconds=0.02) == 20
    assert await count(memory, "c", 20, life_seconds=0.02) == 40
    await asyncio.sleep(0.03)
    assert await count(memory, "c", 1, life_seconds=0.02) == 1


async def test_a_counter_that_is_no_number_is_never_allowed(memory: Cache, monkeypatch: pytest.MonkeyPatch):
    async def nothing(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(memory, "incr", nothing)
    with pytest.raises(CacheUnavailableError):
        await count(memory, "c", 1, life_seconds=60)


@pytest.mark.redis
async def test_redis_keeps_values_tags_and_counters(redis_server: RedisServer):
    async with (
        opened(make_cache(redis_server.url, prefix="gateway")) as one,
        opened(make_cache(redis_server.url, prefix="gateway")) as other,
    ):
        await one.set("a", {"b": [1, "x"]}, expire=60, tags=[KEYS.key("t")])
        assert await other.get("a") == {"b": [1, "x"]}
        await other.delete_tags(KEYS.key("t"))
        assert await one.get("a") is None
        assert await count(one, "c", 5, life_seconds=0.1) == 5
        assert await count(other, "c", 5, life_seconds=0.1) == 10
        await asyncio.sleep(0.15)
        assert await count(one, "c", 1, life_seconds=60) == 1


@pytest.mark.redis
async def test_a_redis_that_is_away_is_an_error_logged_once(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("undercroft.shared.cache._RETRY_AFTER_SECONDS", 0.1)
    async with opened(make_cache(redis_server.url, prefix="gateway")) as cache:
        await cache.set("a", 1)
        redis_server.stop()
        with structlog.testing.capture_logs() as lines:
            for _ in range(3):
                with pytest.raises(CacheUnavailableError):
                    await count(cache, "c", 1, life_seconds=60)
            await asyncio.sleep(0.15)
            with pytest.raises(CacheUnavailableError):
                await cache.get("a")
            redis_server.start()
            await asyncio.sleep(0.15)
            assert await count(cache, "c", 1, life_seconds=60) == 1
        assert [line["event"] for line in lines] == ["redis is away", "redis is back"]


@pytest.mark.redis
async def test_a_redis_that_is_away_is_spared(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("undercroft.shared.cache._RETRY_AFTER_SECONDS", 600)
    async with opened(make_cache(redis_server.url, prefix="gateway")) as cache:
        await cache.set("a", 1)
        redis_server.stop()
        with pytest.raises(CacheUnavailableError):
            await cache.get("a")
        redis_server.start()  # nobody asks it
        for _ in range(3):
            with pytest.raises(CacheUnavailableError):
                await cache.get("a")


async def test_an_address_where_nothing_is_costs_nobody_the_start():
    async with opened(make_cache(SecretStr("redis://127.0.0.1:1/0"), prefix="gateway")) as cache:
        with pytest.raises(CacheUnavailableError):
            await cache.get("a")
