"""identity beside npm oidc-provider, npm better-auth and an empty FastAPI application, one core each.

    uv run python -m tests.bench.identity [--seconds 3] [--rounds 3] [--connections 32]

Every server is a process pinned to the first core; PostgreSQL and the load (wrk) have the second. The rows take turns
in each round, and the medians of the rounds are shown: compare rows of one run, never runs. `cpu` is what a request
takes of the server's core, user and system, which other work on the machine disturbs least. Needs wrk, two cores and,
for the first run, the npm registry.
"""

import argparse
import base64
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.rig.identity import Identity, running_identity
from tests.bench.rig.load import Measured, Question, measure
from tests.bench.rig.node_peers import NodePeers
from tests.bench.rig.processes import LOAD_CORE, Server, free_port, serving

from undercroft.shared.auth import Principal

FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
JSON: Final = {"Content-Type": "application/json"}
CLIENT_CREDENTIALS: Final = "grant_type=client_credentials&scope=flags%3Aevaluate"
EMPTY: Final = "empty FastAPI application"
PEER_ID, PEER_SECRET = "bench", "only-for-benchmarks-0123456789abcdef"


class Row(NamedTuple):
    """What is asked of whom; `peer` is the name of the row that it is compared with."""

    name: str
    server: Server
    question: Callable[[], Question]
    peer: str | None = None


def basic(name: str, secret: str) -> dict[str, str]:
    """Return how a client authenticates (RFC 7617)."""
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"}


def asking_for_tokens(path: str, name: str, secret: str) -> Question:
    """Return a client's question for a token of its own."""
    return Question(path, "POST", {**FORM, **basic(name, secret)}, (CLIENT_CREDENTIALS,))


def own_rows(identity: Identity) -> Iterator[Row]:
    """Prepare what is asked of identity. Principals are shown for a minute, hence signed for each measurement."""
    server = identity.server
    client = identity.as_operator(
        "/v1/oauth-clients",
        {
            "name": "bench",
            "type": "confidential",
            "redirectUris": [],
            "grantTypes": ["client_credentials"],
            "scopes": ["flags:evaluate", "identity:read"],
            "tokenEndpointAuthMethod": "client_secret_basic",
        },
    )
    key = identity.as_operator("/v1/api-keys", {"name": "bench", "scopes": ["flags:evaluate"]})
    person = identity.make_person()
    token = identity.sign_in()["accessToken"]
    credentials = str(client["clientId"]), str(client["clientSecret"])
    yield Row(
        "client_credentials: identity, ES256",
        server,
        lambda: asking_for_tokens("/oauth/token", *credentials),
        "client_credentials: oidc-provider, RS256",
    )
    yield Row(
        "API key: identity, PostgreSQL",
        server,
        lambda: Question(
            "/internal/api-keys/verify",
            "POST",
            {**JSON, **identity.headers(Principal("gateway", "service"))},
            (json.dumps({"secret": key["secret"]}),),
        ),
        "API key: better-auth, memory",
    )
    yield Row(
        "introspection of a person's token",
        server,
        lambda: Question("/oauth/introspect", "POST", {**FORM, **basic(*credentials)}, (f"token={token}",)),
        EMPTY,
    )
    yield Row(
        "signed-in GET /v1/me",
        server,
        lambda: Question("/v1/me", headers=identity.headers(person)),
        EMPTY,
    )


def peer_rows(stack: ExitStack, directory: Path) -> Iterator[Row]:
    """Start the peers."""
    peers = NodePeers()
    peers.install()
    for algorithm in ("RS256", "ES256"):
        arguments = (algorithm, PEER_ID, PEER_SECRET)
        log = directory / f"oidc-provider-{algorithm}.log"
        server = stack.enter_context(peers.serving("oidc_provider.mjs", *arguments, log=log))
        question = asking_for_tokens("/token", PEER_ID, PEER_SECRET)
        yield Row(f"client_credentials: oidc-provider, {algorithm}", server, always(question))
    for storage in ("memory", "sqlite"):
        log = directory / f"better-auth-{storage}.log"
        server = stack.enter_context(peers.serving("better_auth.mjs", storage, log=log))
        body = json.dumps({"secret": log.read_text().split()[-1]})
        yield Row(f"API key: better-auth, {storage}", server, always(Question("/", "POST", JSON, (body,))))
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.bench.rig.bare:app"]
    command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    server = stack.enter_context(serving(command, port=port, log=directory / "bare.log"))
    yield Row(EMPTY, server, always(Question("/")))


def always(question: Question) -> Callable[[], Question]:
    """Return how the same question is asked each time."""
    return lambda: question


def show(row: Row, results: Mapping[str, Sequence[Measured]]) -> None:
    """Print a row: medians, and the medians of what each round says about the peer of the same round."""
    own = results[row.name]
    rate, cpu, slow = (statistics.median(values) for values in zip(*own, strict=True))
    line = f"{row.name:44} {rate:7,.0f}/s  cpu {cpu:6.0f} us  p99 {slow:6.1f} ms"
    if row.peer is not None:
        pairs = list(zip(own, results[row.peer], strict=True))
        by_rate = statistics.median(mine.rate / peer.rate for mine, peer in pairs)
        by_cpu = statistics.median(peer.cpu / mine.cpu for mine, peer in pairs)
        line += f"  {by_rate:5.2f} times, by cpu {by_cpu:5.2f}, of {row.peer}"
    print(line, flush=True)


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--only", default="", help="rows whose name has this in it, and no peers")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed")
    os.sched_setaffinity(0, {LOAD_CORE})  # what is started below stays there, the servers excepted
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        directory = Path(temporary)
        identity = stack.enter_context(running_identity(directory))
        rows = [row for row in own_rows(identity) if arguments.only in row.name]
        if arguments.only:
            rows = [row._replace(peer=None) for row in rows]
        else:
            rows += peer_rows(stack, directory)
        results: dict[str, list[Measured]] = {row.name: [] for row in rows}
        for number in range(-1, arguments.rounds):
            seconds = 1 if number < 0 else arguments.seconds  # the first round only warms up
            for row in rows:
                measured = measure(
                    row.server,
                    row.question(),
                    seconds=seconds,
                    connections=arguments.connections,
                    directory=directory,
                )
                if number >= 0:
                    results[row.name].append(measured)
        for row in rows:
            show(row, results)


if __name__ == "__main__":
    main()
