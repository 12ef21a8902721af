"""npm unleash-server with a set of flags like ours, on one core, beside the same PostgreSQL."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from tests.bench.flags.environment import FLAGS, SEGMENTS, TRAITS, context, segment_members
from tests.bench.rig.load import Question
from tests.bench.rig.node_peers import NodePeers
from tests.bench.rig.processes import Server

FRONTEND_TOKEN: Final = "*:development.frontend-token-of-the-benchmark"
_ADMIN_TOKEN: Final = "*:*.admin-token-of-the-benchmark"
_PROJECT: Final = "/api/admin/projects/default/features"


class Unleash:
    """A running unleash-server with its flags."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def question(self, number: int) -> Question:
        """Return how a browser asks for all flags of a user, the 15 traits in it."""
        asked = {"userId": context(number)["targetingKey"]}
        asked |= {f"properties[{name}]": value for name, value in TRAITS.items()}
        return Question(f"/api/frontend?{urlencode(asked)}", headers={"Authorization": FRONTEND_TOKEN})

    def wait_for_flags(self) -> None:
        """Wait until it answers with them, from a copy that it refreshes every few seconds."""
        question = self.question(3)
        for _ in range(60):
            if httpx.get(self.server.url + question.path, headers=question.headers).json().get("toggles"):
                return
            time.sleep(1)
        raise SystemExit("unleash-server: its flags do not appear")


@contextlib.contextmanager
def unleash(database_url: str, directory: Path) -> Iterator[Unleash]:
    """Run it on a database and give it the flags."""
    peers = NodePeers()
    peers.install()
    script = "node_modules/unleash-server/dist/server.js"
    log = directory / "unleash.log"
    with peers.serving(script, log=log, environment=_environment(database_url)) as server:
        _define(server)
        running = Unleash(server)
        running.wait_for_flags()
        yield running


def _environment(database_url: str) -> dict[str, str]:
    parts = urlsplit(database_url)
    return {
        "DATABASE_HOST": parts.hostname or parse_qs(parts.query)["host"][0],
        "DATABASE_PORT": str(parts.port or 5432),
        "DATABASE_USERNAME": parts.username or "",
        "DATABASE_PASSWORD": parts.password or "none",
        "DATABASE_NAME": parts.path.removeprefix("/"),
        "DATABASE_SSL": "false",
        "HTTP_HOST": "127.0.0.1",
        "INIT_ADMIN_API_TOKENS": _ADMIN_TOKEN,
        "INIT_FRONTEND_API_TOKENS": FRONTEND_TOKEN,
        "LOG_LEVEL": "error",
        "CHECK_VERSION": "false",
        "SEND_TELEMETRY": "false",
    }


def _define(server: Server) -> None:
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
        raise SystemExit(f"unleash-server refuses {path}: {answer.text[:300]}")
    return answer.json() if answer.content else {}
