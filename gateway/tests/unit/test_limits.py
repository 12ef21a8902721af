import asyncio

import pytest
from cashews import Cache

from undercroft.gateway.limits import Limiter
from undercroft.gateway.routes_table import LimitPolicy
from undercroft.shared.cache import CacheUnavailableError, make_cache


class Clock:
    def __init__(self) -> None:
        self.now = 1_200_000_000.0

    def __call__(self) -> float:
        return self.now


def policy(requests: int = 3, **values: object) -> LimitPolicy:
    known = {
        "name": "p",
        "requests": requests,
        "window_seconds": 60,
        "per": "credential",
        "on_failure": "open",
    }
    return LimitPolicy.model_validate({**known, **values})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache() -> Cache:
    return make_cache(None, prefix="gateway", memory_size=1_000)


def limiter(shared: Cache, clock: Clock, *, subjects: int = 100) -> Limiter:
    return Limiter(shared, make_cache(None, prefix="gateway"), subjects=subjects, clock=clock)


async def admitted(limits: Limiter, rule: LimitPolicy, times: int, subject: str = "a") -> int:
    verdicts = [await limits.admit(rule, subject) for _ in range(times)]
    return sum(verdict.is_admitted for verdict in verdicts)


@pytest.fixture
def away(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Cache:
    async def incr(*_: object, **__: object) -> int:
        raise CacheUnavailableError

    monkeypatch.setattr(cache, "incr", incr)
    return cache


async def test_a_window_admits_its_limit(cache: Cache, clock: Clock):
    assert await admitted(limiter(cache, clock), policy(3), 5) == 3


@pytest.mark.parametrize("requests", [1, 3, 19, 20, 100, 999])
async def test_leases_admit_exactly_the_limit(cache: Cache, clock: Clock, requests: int):
    assert await admitted(limiter(cache, clock), policy(requests), requests + 50) == requests


async def test_the_next_window_begins_anew(cache: Cache, clock: Clock):
    limits = limiter(cache, clock)
    await admitted(limits, policy(3), 5)
    clock.now += 60
    assert await admitted(limits, policy(3), 5) == 3


async def test_callers_are_counted_apart(cache: Cache, clock: Clock):
    limits = limiter(cache, clock)
    await admitted(limits, policy(3), 5)
    assert await admitted(limits, policy(3), 5, subject="b") == 3


async def test_replicas_share_one_limit(cache: Cache, clock: Clock):
    one, other = limiter(cache, clock), limiter(cache, clock)
    total = 0
    for _ in range(100):
        total += await admitted(one, policy(100), 1) + await admitted(other, policy(100), 1)
    assert 95 <= total <= 100


async def test_concurrent_requests_admit_no_more(cache: Cache, clock: Clock):
    limits = limiter(cache, clock)
    verdicts = await asyncio.gather(*(limits.admit(policy(50), "a") for _ in range(200)))
    assert sum(verdict.is_admitted for verdict in verdicts) == 50


async def test_the_verdict_tells_what_is_left(cache: Cache, clock: Clock):
    limits = limiter(cache, clock)
    clock.now += 12.5
    first = await limits.admit(policy(3), "a")
    assert first.headers() == [(b"ratelimit-policy", b'"p";q=3;w=60'), (b"ratelimit", b'"p";r=2;t=48')]
    await admitted(limits, policy(3), 2)
    refused = await limits.admit(policy(3), "a")
    assert (refused.is_admitted, refused.remaining, refused.reset_seconds) == (False, 0, 48)
    assert limits.is_exhausted(policy(3), "a")
    assert limits.seconds_to_reset(policy(3)) == 48


async def test_nobody_is_exhausted_before_the_first_request(cache: Cache, clock: Clock):
    assert not limiter(cache, clock).is_exhausted(policy(3), "a")


async def test_a_limiter_that_fails_open_counts_by_itself(away: Cache, clock: Clock):
    assert await admitted(limiter(away, clock), policy(3), 5) == 3


async def test_a_limiter_that_fails_closed_refuses(away: Cache, clock: Clock):
    assert await admitted(limiter(away, clock), policy(3, on_failure="closed"), 2) == 0


async def test_the_memory_of_callers_is_bounded(cache: Cache, clock: Clock):
    limits = limiter(cache, clock, subjects=10)
    for number in range(50):
        await limits.admit(policy(3), str(number))
    assert len(limits._leases) == 10
