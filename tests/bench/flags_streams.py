"""Clients that follow the flags by event streams: how soon the last one knows of a change, and what they cost.

    uv run python tests/bench/flags_streams.py [--clients 200] [--changes 5] [--mode separate-processes] [--direct]

Every client is a socket of this process with a stream open through the gateway (`--direct`: to the flags process, past
the gateway, where there is one). Times run from the request that makes a change to the moment at which a client
knows; the change is answered meanwhile, when this replica evaluates it.
"Added" is resident memory beyond that before the first client, of the gateway and flags.
The clients share the machine's cores with them, and other work shows: compare runs of one minute only.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr
from tests.integration.platforms import Platform, one_process, separate_processes

from undercroft.shared.auth import Principal, PrincipalKeys, PrincipalSigner
from undercroft.shared.listeners import allow_many_connections

MODES = {"one-process": one_process, "separate-processes": separate_processes}
ENVIRONMENT = "production"
BULK = "/ofrep/v1/evaluate/flags"
CLOCK_TICKS = 100


def document(change: int) -> dict[str, Any]:
    """Return 50 flags, one of which is another after each change."""
    on_off = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
    flags = {f"flag-{number}": on_off for number in range(50)}
    flags["flag-0"] = {**on_off, "metadata": {"change": change}}
    return {"flags": flags}


def resident_megabytes(pids: Sequence[int]) -> list[float]:
    """Return each process's resident memory."""
    return [int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024 for pid in pids]


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the user and system time of processes together."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / CLOCK_TICKS


class Clients:
    """The streams, and when each heard of the last change."""

    def __init__(self) -> None:
        self.heard: list[float] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.greeted = 0

    async def open(self, number: int, url: str, target: str, headers: str) -> None:
        """Open streams, 50 at a time, and wait until each is greeted."""
        for start in range(0, number, 50):
            batch = min(50, number - start)
            self.tasks += [asyncio.create_task(self._follow(url, target, headers)) for _ in range(batch)]
            await self._until(lambda wanted=start + batch: self.greeted >= wanted)

    async def all_heard(self) -> list[float]:
        """Wait until every client has heard of the change; return when each did."""
        await self._until(lambda: len(self.heard) >= len(self.tasks))
        return sorted(self.heard)

    async def _until(self, is_done: Any) -> None:
        async with asyncio.timeout(60):
            while not is_done():
                failed = [task for task in self.tasks if task.done()]
                if failed:
                    failed[0].result()
                    raise SystemExit("a stream ended")
                await asyncio.sleep(0.005)

    async def _follow(self, url: str, target: str, headers: str) -> None:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=4_096)
        writer.write(f"GET {target} HTTP/1.1\r\nhost: {parts.netloc}\r\n{headers}\r\n".encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise SystemExit(f"a stream was refused: {status!r}")
        while line := await reader.readline():
            if line.startswith(b"retry:"):
                self.greeted += 1
            elif line.startswith(b"event:"):
                self.heard.append(time.perf_counter())


def way(platform: Platform, *, is_direct: bool) -> tuple[str, str, str]:
    """Return address, target and headers of a stream."""
    key = platform.make_key(scopes=["flags:evaluate"], environment=ENVIRONMENT)
    if is_direct:
        environment = Path(f"/proc/{platform.processes['flags'].pid}/environ").read_bytes().split(b"\0")
        values = dict(each.decode().split("=", 1) for each in environment if each.startswith(b"FLAGS_"))
        keys = json.loads(values["FLAGS_PRINCIPAL_KEYS"])
        signer = PrincipalSigner(
            "gateway", PrincipalKeys({pair: SecretStr(value) for pair, value in keys.items()})
        )
        principal = Principal(key["id"], "api_key", None, frozenset({"flags:evaluate"}), ENVIRONMENT)
        header = f"Undercroft-Principal: {signer.header_for(principal, 'flags')}\r\n"
        return f"http://127.0.0.1:{values['FLAGS_PORT']}", "/ofrep/v1/events", header
    answer = httpx.post(f"{platform.url}{BULK}", json={}, headers={"X-API-Key": key["secret"]})
    return platform.url, answer.json()["eventStreams"][0]["endpoint"]["requestUri"], ""


async def measure(platform: Platform, arguments: argparse.Namespace) -> None:
    """Open the streams, make the changes, print what was seen."""
    names = [name for name in platform.processes if name != "identity"]
    pids = [platform.processes[name].pid for name in names]
    operator = httpx.AsyncClient(base_url=platform.url, headers=platform.operator.headers, timeout=30)
    path = f"/v1/environments/{ENVIRONMENT}/flagd"
    for change in (-3, -2, -1):  # what the first requests make stays
        await operator.put(path, json=document(change))
    url, target, headers = way(platform, is_direct=arguments.direct)
    clients = Clients()
    before = resident_megabytes(pids)
    started = time.perf_counter()
    await clients.open(arguments.clients, url, target, headers)
    opening = time.perf_counter() - started
    idle = resident_megabytes(pids)
    rows = []
    for change in range(arguments.changes):
        cpu = cpu_seconds(pids)
        clients.heard = []
        asked = time.perf_counter()
        await operator.put(path, json=document(change))
        answered = time.perf_counter()
        heard = await clients.all_heard()
        await asyncio.sleep(0.5)
        rows.append((answered - asked, [each - asked for each in heard], cpu_seconds(pids) - cpu))
    after = resident_megabytes(pids)
    print(f"{arguments.mode}, {arguments.clients} clients, opened in {opening:.1f} s")
    for name, *figures in zip(names, before, idle, after, strict=True):
        print(
            f"  {name:10} {figures[0]:7.1f} MB before, {figures[1]:7.1f} with streams, {figures[2]:7.1f} at the end"
        )
    print(f"  added      {sum(after) - sum(before):7.1f} MB")
    for answered, heard, cpu in rows:
        print(
            f"  change answered after {1_000 * answered:.0f} ms; told after {1_000 * statistics.median(heard):.0f} ms "
            f"(median), {1_000 * heard[-1]:.0f} ms (last); {cpu:.2f} s of CPU"
        )
    for task in clients.tasks:
        task.cancel()
    await operator.aclose()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--changes", type=int, default=5)
    parser.add_argument("--mode", choices=MODES, default="separate-processes")
    parser.add_argument("--direct", action="store_true")
    arguments = parser.parse_args()
    if arguments.direct and arguments.mode == "one-process":
        parser.error("in one process there is no way past the gateway")
    allow_many_connections()
    with tempfile.TemporaryDirectory() as directory, MODES[arguments.mode](Path(directory)) as platform:
        asyncio.run(measure(platform, arguments))


if __name__ == "__main__":
    main()
