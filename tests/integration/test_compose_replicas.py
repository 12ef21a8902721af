"""Two gateways and two flags services: one limit, one truth."""

import functools
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from .containers import Stack, docker
from .ofrep import check_httpx
from .platforms import free_port

pytestmark = pytest.mark.docker

LIMIT = 600
FLAG = {"state": "ENABLED", "variants": {"old": "old", "new": "new"}, "defaultVariant": "old"}


@pytest.fixture(scope="module")
def scaled(stack: Stack) -> Iterator[Stack]:
    """Two of each; every gateway needs a port of its own, the rest is as it was."""
    stack.wait_healthy()
    before = stack.environment["UNDERCROFT_PORT"]
    first = free_port()
    stack.environment["UNDERCROFT_PORT"] = f"{first}-{first + 9}"
    stack.compose("up", "--detach", "--no-build", "--scale", "gateway=2", "--scale", "flags=2")
    yield stack
    stack.environment["UNDERCROFT_PORT"] = before
    stack.compose("up", "--detach", "--no-build")
    stack.wait_healthy()


@pytest.fixture
def gateways(scaled: Stack) -> Iterator[list[httpx.Client]]:
    """A client of each gateway, past the published ports."""
    headers = {"Authorization": f"Bearer {(scaled.secrets / 'operator_key').read_text().strip()}"}
    addresses = [scaled.address(each, "public") for each in scaled.containers("gateway")]
    assert len(addresses) == 2
    hooks = {"response": [check_httpx]}
    clients = [
        httpx.Client(base_url=f"http://{each}:8000", headers=headers, timeout=10, event_hooks=hooks)
        for each in addresses
    ]
    for client in clients:
        scaled.wait_until(functools.partial(is_complete, client), "all of it is there")
    yield clients
    for client in clients:
        client.close()


def is_complete(client: httpx.Client) -> bool:
    return bool(client.get("/v1/status").json()["status"] == "pass")


def has_redis(client: httpx.Client) -> bool:
    return bool(client.get("/readyz").json()["checks"]["redis"][0]["status"] == "pass")


def evaluates(client: httpx.Client, headers: dict[str, str]) -> bool:
    path = "/ofrep/v1/evaluate/flags/nothing"
    return all(client.post(path, json={}, headers=headers).status_code == 404 for _ in range(20))


def new_key(client: httpx.Client) -> str:
    body = {"name": "replicas", "scopes": ["flags:read", "flags:evaluate"], "environment": "production"}
    made = client.post("/v1/api-keys", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["secret"])


def await_new_window(client: httpx.Client, seconds: int) -> None:
    """Return when the limit's window still lasts this long."""
    reset = int(client.get("/v1/flags").headers["RateLimit"].rpartition("t=")[2])
    if reset < seconds:
        time.sleep(reset + 0.5)


def spend(gateways: list[httpx.Client], key: str, requests: int) -> Counter[int]:
    """Send requests through the gateways by turns; return how many got which status."""
    headers = {"Authorization": f"Bearer {key}"}
    turns = itertools.islice(itertools.cycle(gateways), requests)
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda client: client.get("/v1/flags", headers=headers).status_code, turns)
        return Counter(answers)


def test_two_gateways_share_one_limit(gateways: list[httpx.Client]) -> None:
    key = new_key(gateways[0])
    await_new_window(gateways[0], 35)
    statuses = spend(gateways, key, LIMIT + 100)
    assert set(statuses) == {200, 429}
    # A lease is a twentieth of the limit: what one gateway holds and does not need is not admitted elsewhere.
    assert LIMIT * 0.95 <= statuses[200] <= LIMIT


def test_without_redis_each_gateway_counts_alone_and_nothing_is_5xx(
    scaled: Stack, gateways: list[httpx.Client]
) -> None:
    key = new_key(gateways[0])
    await_new_window(gateways[0], 45)
    with scaled.without("redis"):
        statuses = spend(gateways, key, 2 * LIMIT + 100)
    assert set(statuses) == {200, 429}
    assert LIMIT < statuses[200] <= 2 * LIMIT


def test_a_limit_is_shared_again_when_redis_is_back(scaled: Stack, gateways: list[httpx.Client]) -> None:
    docker("restart", scaled.container("redis"))
    for client in gateways:
        scaled.wait_until(
            functools.partial(has_redis, client),
            "Redis is back",
            15,
        )
    key = new_key(gateways[0])
    await_new_window(gateways[0], 35)
    statuses = spend(gateways, key, LIMIT + 100)
    assert set(statuses) == {200, 429}
    assert statuses[200] <= LIMIT


def test_a_key_revoked_through_one_gateway_is_refused_by_the_other(gateways: list[httpx.Client]) -> None:
    assert min(seconds_until_both_refuse(gateways) for _ in range(5)) < 1


def seconds_until_both_refuse(gateways: list[httpx.Client]) -> float:
    made = (
        gateways[0]
        .post(
            "/v1/api-keys", json={"name": "shared", "scopes": ["flags:evaluate"], "environment": "production"}
        )
        .json()
    )
    headers = {"Authorization": f"Bearer {made['secret']}"}
    path = "/ofrep/v1/evaluate/flags/nothing"
    assert {each.post(path, json={}, headers=headers).status_code for each in gateways} == {404}
    revoked_at = time.monotonic()
    assert gateways[0].delete(f"/v1/api-keys/{made['id']}").status_code == 204
    while {each.post(path, json={}, headers=headers).status_code for each in gateways} != {401}:
        assert time.monotonic() - revoked_at < 20
    return time.monotonic() - revoked_at


def test_a_change_reaches_every_replica_of_flags(scaled: Stack, gateways: list[httpx.Client]) -> None:
    addresses = [scaled.address(each, "services") for each in scaled.containers("flags")]
    assert len(addresses) == 2
    stored = gateways[0].put("/v1/environments/staging/flagd", json={"flags": {"both": FLAG}})
    assert stored.status_code == 200, stored.text

    def versions() -> set[int]:
        states = [httpx.get(f"http://{each}:8000/readyz", timeout=5).json() for each in addresses]
        return {state["checks"]["snapshots"][0]["versions"]["staging"] for state in states}

    scaled.wait_until(lambda: len(versions()) == 1, "both replicas hold the same version", 5)
    before = versions()
    changed = {**FLAG, "defaultVariant": "new"}
    gateways[1].put("/v1/environments/staging/flagd", json={"flags": {"both": changed}})
    scaled.wait_until(lambda: len(versions()) == 1 and versions() != before, "both replicas changed", 5)


def test_one_replica_of_flags_is_enough(scaled: Stack, gateways: list[httpx.Client]) -> None:
    key = new_key(gateways[0])
    headers = {"Authorization": f"Bearer {key}"}
    docker("stop", scaled.containers("flags")[1])
    for client in gateways:
        scaled.wait_until(
            functools.partial(evaluates, client, headers),
            "the other replica serves",
            15,
        )
