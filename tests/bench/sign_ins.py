"""Fifty people sign in at once: how late identity's event loop is meanwhile, beside the same process at rest.

    uv run python -m tests.bench.sign_ins [--people 50] [--rounds 5]

A task inside the process wakes up each millisecond. `late` is the longest that it was late, which other work on the
machine adds to; `computed` is the most that the loop's thread computed in one go, which is what blocks it. identity has
both cores here, as a process has that nobody pins. Needs two cores.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from tests.bench.rig.identity import PASSWORD, Identity, running_identity
from tests.bench.rig.processes import LOAD_CORE, SERVER_CORE


async def storm(identity: Identity, addresses: list[str]) -> float:
    """Let everybody sign in at the same moment; return how long that took all of them, in seconds."""
    limits = httpx.Limits(max_connections=len(addresses))
    began = time.perf_counter()
    async with httpx.AsyncClient(base_url=identity.server.url, timeout=60, limits=limits) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/sessions", json={"email": each, "password": PASSWORD}) for each in addresses)
        )
    if any(answer.status_code != 201 for answer in answers):
        raise SystemExit(f"not everybody could sign in: {[answer.status_code for answer in answers]}")
    return time.perf_counter() - began


def show(name: str, seconds: float, told: dict[str, Any]) -> None:
    """Print a row."""
    print(
        f"{name:28} {seconds:5.1f} s  late {told['longest']:6.1f} ms (p99 {told['p99']:5.1f})"
        f"  computed {told['computed']:5.1f} ms",
        flush=True,
    )


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    addresses = [f"person-{number}@example.com" for number in range(arguments.people)]
    with (
        tempfile.TemporaryDirectory() as temporary,
        running_identity(
            Path(temporary), module="tests.bench.rig.watched_identity", cores=(SERVER_CORE, LOAD_CORE)
        ) as identity,
    ):
        for each in addresses:
            identity.make_person(each)
        asyncio.run(storm(identity, addresses))
        for _ in range(arguments.rounds):
            identity.get("/bench/loop")
            time.sleep(2)
            show("at rest", 2.0, identity.get("/bench/loop"))
            seconds = asyncio.run(storm(identity, addresses))
            show(f"{arguments.people} sign-ins at once", seconds, identity.get("/bench/loop"))


if __name__ == "__main__":
    main()
