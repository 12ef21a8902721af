"""One container after the other away, killed, restarted: what keeps working, and that nothing acknowledged is lost."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

import httpx
import pytest

from .containers import (
    CONTAINERS,
    DEPLOYABLES,
    SERVICES,
    HalfSentRequest,
    Stack,
    crowd,
    docker,
    project,
    require_docker,
)

pytestmark = pytest.mark.docker

PROMISED_STOP_SECONDS = 5
FLAG = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
ENVIRONMENT = "staging"


@pytest.fixture
def key(stack: Stack) -> str:
    """A key that the gateway has verified, in an environment with one flag."""
    stack.wait_healthy()
    platform = stack.platform
    stored = platform.operator.put(f"/v1/environments/{ENVIRONMENT}/flagd", json={"flags": {"steady": FLAG}})
    assert stored.status_code == 200, stored.text
    key = platform.create_key(scopes=["flags:evaluate"], environment=ENVIRONMENT)
    platform.wait_for_flag(key, "steady")
    return key


def evaluates(stack: Stack, key: str) -> bool:
    return stack.platform.evaluate(key, "steady").status_code == 200


def writes(stack: Stack) -> bool:
    answer = stack.platform.operator.patch("/v1/environments/development", json={"name": "Development"})
    return answer.status_code == 200


def verifies(stack: Stack) -> bool:
    """Tell whether identity answers: an operator's list is asked of it each time."""
    return stack.platform.operator.get("/v1/organizations").status_code == 200


def works(stack: Stack, key: str) -> bool:
    return evaluates(stack, key) and writes(stack) and verifies(stack)


@pytest.mark.parametrize("seed", range(2))
def test_containers_restart_in_any_order(stack: Stack, key: str, seed: int) -> None:
    order = random.Random(seed).sample(CONTAINERS, len(CONTAINERS))
    for service in order:
        docker("restart", "--time=8", stack.container(service))
    stack.wait_until(lambda: works(stack, key), f"all of it works after restarting {order}", 60)


def test_all_containers_restart_at_once(stack: Stack, key: str) -> None:
    docker("restart", "--time=8", *(stack.container(service) for service in CONTAINERS), timeout=120)
    stack.wait_until(lambda: works(stack, key), "all of it works after a common restart", 90)


@pytest.mark.parametrize("how", ["stop", "pause", "kill"])
def test_without_redis_nothing_fails_and_nothing_is_unlimited(stack: Stack, key: str, how: str) -> None:
    began = len(stack.logs("gateway"))
    with stack.without("redis", how):
        started = time.monotonic()
        answers = [stack.platform.operator.get("/v1/flags") for _ in range(60)]
        elapsed = time.monotonic() - started
        assert {answer.status_code for answer in answers} == {200}
        assert all("RateLimit" in answer.headers for answer in answers)
        assert elapsed < 10
        assert evaluates(stack, key)
    events = [line for line in stack.logs("gateway")[began:] if "redis is" in line]
    stack.wait_until(lambda: redis_is(stack, "pass"), "the gateway has Redis again", 20)
    assert len([line for line in events if '"redis is away"' in line]) <= 2


def redis_is(stack: Stack, status: str) -> bool:
    answer = httpx.get(f"{stack.platform.url}/readyz", timeout=5).json()
    return bool(answer["checks"]["redis"][0]["status"] == status)


def test_without_postgres_flags_evaluate_and_writes_are_503(stack: Stack, key: str) -> None:
    with stack.without("postgres"):
        assert all(evaluates(stack, key) for _ in range(20))
        refused = stack.platform.operator.patch("/v1/environments/development", json={"name": "Lost"})
        assert (refused.status_code, refused.headers["Content-Type"]) == (503, "application/problem+json")
        assert int(refused.headers["Retry-After"]) >= 1
        stack.wait_until(lambda: stack.health("identity") == "unhealthy", "compose shows what is missing", 40)
        assert stack.health("flags") == "healthy"
        assert evaluates(stack, key)
    stack.wait_until(lambda: works(stack, key), "all of it works with PostgreSQL again", 40)
    name = stack.platform.operator.get("/v1/environments/development").json()["name"]
    assert name == "Development"


@pytest.mark.parametrize("service", SERVICES)
def test_without_a_service_its_routes_are_503_and_the_others_answer(
    stack: Stack, key: str, service: str
) -> None:
    paths = {"identity": "/v1/organizations", "flags": "/v1/flags"}
    with stack.without(service):
        for name, path in paths.items():
            answer = stack.platform.operator.get(path)
            assert answer.status_code == (503 if name == service else 200)
        status = stack.platform.operator.get("/v1/status").json()
        states = {each["name"]: each["status"] for each in status["services"]}
        assert [name for name, state in states.items() if state == "fail"] == [service]
    stack.wait_until(lambda: works(stack, key), f"all of it works with {service} again", 40)


class Writer:
    """Creates flags one after the other and remembers which were acknowledged."""

    def __init__(self, stack: Stack, prefix: str) -> None:
        self._stack = stack
        self._prefix = prefix
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_done.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        headers = {"Authorization": f"Bearer {self._stack.platform.operator_key}"}
        with httpx.Client(base_url=self._stack.platform.url, headers=headers, timeout=15) as client:
            while not self._is_done.wait(0.12):  # within the limit of the operator's key
                number += 1
                name = f"{self._prefix}-{number}"
                try:
                    answer = client.post("/v1/flags", json={"key": name, "type": "boolean"})
                except httpx.TransportError:
                    continue
                if answer.status_code == 201:
                    self.acknowledged.append(name)


@pytest.mark.parametrize("service", CONTAINERS)
def test_a_killed_process_comes_back_and_nothing_acknowledged_is_missing(
    stack: Stack, key: str, service: str
) -> None:
    before = stack.inspect(service, ".RestartCount")
    with Writer(stack, f"killed-{service}") as writer:
        time.sleep(1.5)
        stack.kill_process(service)
        stack.wait_until(
            lambda: stack.inspect(service, ".RestartCount") == before + 1, f"{service} restarted", 30
        )
        stack.wait_until(lambda: works(stack, key), f"all of it works after {service} was killed", 60)
        acknowledged_before = len(writer.acknowledged)
        stack.wait_until(lambda: len(writer.acknowledged) > acknowledged_before, "writes go on", 20)
    assert missing_flags(stack, writer.acknowledged) == []


def test_docker_kill_is_a_wish_to_stop_and_loses_nothing_either(stack: Stack, key: str) -> None:
    """The engine never restarts what `docker kill` ended, whatever the policy; `up` or `start` does."""
    with Writer(stack, "docker-kill") as writer:
        time.sleep(1.5)
        for service in (*SERVICES, "postgres"):
            docker("kill", "--signal=KILL", stack.container(service))
        for service in ("postgres", *SERVICES):
            docker("start", stack.container(service))
        stack.wait_until(lambda: works(stack, key), "all of it works after docker kill and start", 60)
    assert missing_flags(stack, writer.acknowledged) == []


def missing_flags(stack: Stack, acknowledged: list[str]) -> list[str]:
    assert acknowledged
    present = stack.psql("SELECT key FROM flags.flags").stdout.split()
    return sorted(set(acknowledged) - set(present))


IN_FLIGHT: dict[str, tuple[str, str, bytes, int]] = {
    "gateway": ("POST", "/v1/organizations", b'{"name": "In flight at the gateway"}', 201),
    "identity": ("POST", "/v1/organizations", b'{"name": "In flight at identity"}', 201),
    "flags": ("PUT", "/v1/environments/development/flagd", b'{"flags": {}}', 200),
}


@pytest.mark.parametrize("service", DEPLOYABLES)
def test_a_stop_answers_what_is_in_flight_and_takes_less_than_five_seconds(
    stack: Stack, key: str, service: str
) -> None:
    method, path, body, expected = IN_FLIGHT[service]
    container = stack.container(service)
    request = HalfSentRequest(stack.platform, method, path, body)
    time.sleep(0.3)
    took: list[float] = []
    stopping = threading.Thread(target=lambda: took.append(timed(lambda: docker("stop", container))))
    stopping.start()
    try:
        time.sleep(1.5)
        status = request.finish()
    finally:
        stopping.join()
        request.close()
        docker("start", container)
    assert status == expected
    assert took[0] < PROMISED_STOP_SECONDS * crowd()
    stack.wait_until(lambda: works(stack, key), f"all of it works with {service} again", 40)


@pytest.mark.parametrize("service", CONTAINERS)
def test_a_stop_is_clean_and_takes_less_than_five_seconds(stack: Stack, key: str, service: str) -> None:
    container = stack.container(service)
    held = HalfSentRequest(stack.platform, *IN_FLIGHT["gateway"][:3])  # never finished: nobody waits for it
    try:
        seconds = timed(lambda: docker("stop", container))
        status = stack.inspect(service, ".State.ExitCode")
    finally:
        docker("start", container)
        held.close()
    assert status == 0
    assert seconds < PROMISED_STOP_SECONDS * crowd()
    stack.wait_until(lambda: works(stack, key), f"all of it works with {service} again", 60)


def timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> Iterator[Stack]:
    """A second project, of which a secret is empty and a schema was migrated by a later version."""
    require_docker()
    with project(tmp_path_factory.mktemp("broken"), "ucbroken") as second:
        second.compose("up", "--detach", "--no-build", "roles", timeout=60)
        yield second


def test_compose_shows_which_secret_is_missing(broken: Stack) -> None:
    secret = broken.secrets / "flags_secret_key"
    secret.chmod(0o644)
    content = secret.read_text()
    secret.write_text("")
    try:
        done = broken.compose("up", "--detach", "--no-build", "flags", is_checked=False)
    finally:
        secret.write_text(content)
    assert done.returncode != 0
    assert "flags" in done.stderr
    lines = broken.logs("flags-migrate")
    assert len(lines) == 1
    assert lines[0].startswith("undercroft-flags: invalid setting: FLAGS_SECRET_KEY:")


def test_compose_shows_which_migration_failed(broken: Stack) -> None:
    broken.compose("up", "--detach", "--no-build", "flags")
    changed = broken.psql("UPDATE flags.alembic_version SET version_num = 'later'")
    assert changed.returncode == 0, changed.stderr
    broken.compose("rm", "--force", "--stop", "flags", "flags-migrate")
    done = broken.compose("up", "--detach", "--no-build", "flags", is_checked=False)
    assert done.returncode != 0
    assert "flags" in done.stderr
    lines = broken.logs("flags-migrate")
    assert len(lines) == 1
    assert lines[0].startswith("undercroft-flags: schema flags stands at revision later")
