"""Identity's public keys at the gateway: kept, rotated, and asked for with a limit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from gateway.tests.factories import RSA, TokenIssuer
from joserfc.jwk import ECKey, OctKey

from undercroft.gateway.auth.key_set import REFETCH_SECONDS, SigningKeys
from undercroft.shared.errors import UnavailableError
from undercroft.shared.serialization import dumps


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Source:
    def __init__(self) -> None:
        self.issuer = TokenIssuer()
        self.content: bytes | None = None
        self.failure: Exception | None = None
        self.fetches = 0
        self.go = asyncio.Event()
        self.go.set()

    async def fetch_key_set(self) -> bytes:
        self.fetches += 1
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return self.content if self.content is not None else self.issuer.key_set()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def withdrawn() -> list[str]:
    return []


@pytest.fixture
def keys(source: Source, clock: Clock, withdrawn: list[str]) -> SigningKeys:
    return SigningKeys(source, on_withdrawn=withdrawn.append, clock=clock)


@asynccontextmanager
async def kept_fresh(keys: SigningKeys) -> AsyncIterator[None]:
    task = asyncio.create_task(keys.keep_fresh())
    await asyncio.sleep(0.01)
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_key_is_found_by_its_name(keys: SigningKeys, source: Source):
    found = await keys.find(source.issuer.kid)
    assert found is not None
    assert found.thumbprint() == source.issuer.kid
    await keys.find(source.issuer.kid)
    assert source.fetches == 1


async def test_a_new_key_is_fetched_when_it_is_seen(keys: SigningKeys, source: Source, clock: Clock):
    first = source.issuer.kid
    await keys.find(first)
    second = source.issuer.rotate()
    clock.now += REFETCH_SECONDS
    assert await keys.find(second) is not None
    assert await keys.find(first) is not None
    assert source.fetches == 2


async def test_unknown_names_are_asked_about_only_so_often(keys: SigningKeys, source: Source, clock: Clock):
    for number in range(20):
        assert await keys.find(f"unknown-{number}") is None
    assert source.fetches == 1
    clock.now += REFETCH_SECONDS
    for number in range(20):
        assert await keys.find(f"unknown-{number}") is None
    assert source.fetches == 2


async def test_concurrent_callers_fetch_once(keys: SigningKeys, source: Source):
    source.go.clear()
    calls = [asyncio.create_task(keys.find(source.issuer.kid)) for _ in range(10)]
    await asyncio.sleep(0.01)
    source.go.set()
    assert None not in await asyncio.gather(*calls)
    assert source.fetches == 1


async def test_a_caller_who_leaves_takes_nobody_along(keys: SigningKeys, source: Source):
    source.go.clear()
    calls = [asyncio.create_task(keys.find(source.issuer.kid)) for _ in range(2)]
    await asyncio.sleep(0.01)
    calls[0].cancel()
    source.go.set()
    assert await calls[1] is not None


async def test_old_keys_are_kept_while_identity_is_away(keys: SigningKeys, source: Source):
    await keys.find(source.issuer.kid)
    source.failure = UnavailableError("away")
    assert not await keys.refresh()
    assert await keys.find(source.issuer.kid) is not None


async def test_what_cannot_be_asked_is_unavailable_and_not_wrong(
    keys: SigningKeys, source: Source, clock: Clock
):
    source.failure = UnavailableError("away")
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await keys.find("unknown")
    assert source.fetches == 1
    clock.now += REFETCH_SECONDS
    source.failure = None
    assert await keys.find(source.issuer.kid) is not None


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"{}", b'{"keys":{}}', b'{"keys":1}'], ids=lambda each: each.decode()
)
async def test_nonsense_replaces_nothing(keys: SigningKeys, source: Source, content: bytes):
    await keys.find(source.issuer.kid)
    source.content = content
    assert not await keys.refresh()
    assert await keys.find(source.issuer.kid) is not None


EC = ECKey.generate_key("P-256")
GOOD = {**EC.as_dict(private=False), "kid": "good", "alg": "ES256"}


@pytest.mark.parametrize(
    "entry",
    [
        "key",
        {**GOOD, "kid": None},
        {**GOOD, "kid": "k", "use": "enc"},
        {**GOOD, "kid": "k", "alg": "HS256"},
        {**GOOD, "kid": "k", "alg": None},
        {**GOOD, "kid": "k", "x": "AA"},
        {**EC.as_dict(private=True), "kid": "k", "alg": "ES256"},
        {**OctKey.generate_key(256).as_dict(), "kid": "k", "alg": "HS256"},
        {"kty": "AKP", "kid": "k", "alg": "ML-DSA-44"},
    ],
    ids=str,
)
async def test_keys_that_are_not_for_tokens_are_left_out(keys: SigningKeys, source: Source, entry: object):
    source.content = dumps({"keys": [entry, GOOD]})
    assert await keys.find("good") is not None
    assert await keys.find("k") is None


async def test_withdrawn_keys_are_told(keys: SigningKeys, source: Source, withdrawn: list[str]):
    first = source.issuer.kid
    await keys.refresh()
    source.issuer.rotate(RSA, "RS256")
    await keys.refresh()
    assert withdrawn == []
    del source.issuer.keys[first]
    await keys.refresh()
    assert withdrawn == [first]


async def test_keys_are_fetched_ahead_of_time_and_when_they_change(keys: SigningKeys, source: Source):
    async with kept_fresh(keys):
        assert source.fetches == 1
        keys.refresh_soon()
        await asyncio.sleep(0.01)
    assert source.fetches == 2


async def test_keys_are_fetched_again_soon_when_identity_was_away(
    keys: SigningKeys, source: Source, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("undercroft.gateway.auth.key_set._FIRST_RETRY_SECONDS", 0.001)
    source.failure = UnavailableError("away")
    async with kept_fresh(keys):
        assert source.fetches > 1
        source.failure = None
        await asyncio.sleep(0.1)
        fetches = source.fetches
        await asyncio.sleep(0.05)
        assert source.fetches == fetches
    assert await keys.find(source.issuer.kid) is not None
