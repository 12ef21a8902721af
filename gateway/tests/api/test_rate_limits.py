import pytest

from undercroft.shared.cache import CacheUnavailableError

from .conftest import Gateway, StartGateway

POLICY = '"management";q=600;w=60'


@pytest.fixture
def headers(gateway: Gateway) -> dict[str, str]:
    return {"X-API-Key": gateway.identity.issue("flags:read")}


async def test_every_limited_answer_tells_what_is_left(gateway: Gateway, headers: dict[str, str]):
    first = await gateway.client.get("/v1/flags", headers=headers)
    second = await gateway.client.get("/v1/flags", headers=headers)
    assert first.headers["ratelimit-policy"] == POLICY
    assert first.headers["ratelimit"].startswith('"management";r=599;t=')
    assert second.headers["ratelimit"].startswith('"management";r=598;t=')


async def test_a_limit_that_is_used_up(gateway: Gateway, headers: dict[str, str]):
    for _ in range(600):
        await gateway.client.get("/v1/flags", headers=headers)
    answer = await gateway.client.get("/v1/flags", headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (429, "rate_limited")
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert problem["violated-policies"] == ["management"]
    assert answer.headers["cache-control"] == "no-store"
    reset = int(answer.headers["ratelimit"].rpartition("t=")[2])
    assert int(answer.headers["retry-after"]) >= reset
    assert len(gateway.flags.requests) == 600


async def test_keys_are_counted_apart(gateway: Gateway, headers: dict[str, str]):
    await gateway.client.get("/v1/flags", headers=headers)
    other = {"X-API-Key": gateway.identity.issue("flags:read")}
    answer = await gateway.client.get("/v1/flags", headers=other)
    assert answer.headers["ratelimit"].startswith('"management";r=599;')


async def test_public_routes_are_counted_by_address(gateway: Gateway):
    answer = await gateway.client.get("/v1/status")
    assert answer.headers["ratelimit-policy"] == '"public";q=600;w=60'


async def test_health_is_not_limited(gateway: Gateway):
    assert "ratelimit" not in (await gateway.client.get("/healthz")).headers


async def test_a_cache_that_is_away_is_never_an_error(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
):
    async def away(*_: object, **__: object) -> int:
        raise CacheUnavailableError

    async with start_gateway(redis_url="redis://127.0.0.1:1/0") as gateway:
        headers = {"X-API-Key": gateway.identity.issue("flags:read")}
        answer = await gateway.client.get("/v1/flags", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["ratelimit"].startswith('"management";r=599;')
        status = (await gateway.client.get("/v1/status")).json()["services"][0]
        assert (status["name"], status["status"]) == ("gateway", "warn")
