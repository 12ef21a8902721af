"""What only separate processes can show: roles that cannot reach each other's schema, and one service away."""

import asyncio
import signal
import time
from collections.abc import Iterator

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import httpx
import pytest

from .platforms import Platform, separate_processes


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with separate_processes(tmp_path_factory.mktemp("apart")) as platform:
        yield platform
        platform.operator.close()


async def as_role(platform: Platform, role: str, statement: str) -> object:
    connection = await asyncpg.connect(platform.database_urls[role].replace("+asyncpg", ""))
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("flags", "SELECT * FROM identity.api_keys"),
        ("identity", "SELECT * FROM flags.flags"),
        ("flags", "CREATE TABLE identity.planted (id int)"),
        ("flags", "CREATE TABLE public.planted (id int)"),
        ("identity", "DROP SCHEMA flags CASCADE"),
    ],
)
def test_a_role_cannot_reach_another_services_schema(apart: Platform, role: str, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        asyncio.run(as_role(apart, role, statement))


def test_a_role_reads_its_own_schema(apart: Platform) -> None:
    assert asyncio.run(as_role(apart, "flags", "SELECT key FROM flags.environments"))


def test_a_frozen_identity_leaves_known_keys_working_and_new_ones_waiting(apart: Platform) -> None:
    known = apart.create_key(scopes=["flags:evaluate"], environment="production")
    unseen = apart.create_key(scopes=["flags:evaluate"], environment="production")
    assert apart.evaluate(known, "nothing").status_code == 404
    identity = apart.processes["identity"]
    identity.send_signal(signal.SIGSTOP)
    try:
        assert apart.evaluate(known, "nothing").status_code == 404
        refused = apart.evaluate(unseen, "nothing")
        assert refused.status_code == 503
        assert refused.headers["Content-Type"] == "application/problem+json"
    finally:
        identity.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 10
    while apart.evaluate(unseen, "nothing").status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_dead_flags_service_is_503_with_retry_after(apart: Platform) -> None:
    key = apart.create_key(scopes=["flags:evaluate"], environment="production")
    apart.processes["flags"].kill()
    apart.processes["flags"].wait()
    answer = apart.evaluate(key, "nothing")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    status = httpx.get(f"{apart.url}/v1/status", headers={"Accept": "application/json"}, timeout=10)
    assert status.status_code == 200
    assert apart.operator.get("/v1/organizations").status_code == 200
