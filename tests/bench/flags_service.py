"""The flags service as it runs in production beside npm unleash-server, each one process on one core.

    uv run python -m tests.bench.flags_service [--seconds 5] [--connections 32] [--own]

The server under test is pinned to the first core, wrk to the second; all rows are of one run: compare rows, never runs.
CPU is that of the server's process for a request, and the ratios compare rate and CPU with unleash-server's. The
comparable set: 50 flags, 15 segments, 15 traits. Then changes under two replicas, and loading 10,000 flags. Compiled
evaluations beside flagd's own are in `flags_engine.py`. Needs wrk, two cores and, for the first run without `--own`,
the npm registry.
"""

import argparse
import tempfile
from pathlib import Path

from tests.bench.flags.changes import report_changes
from tests.bench.flags.environment import flagd_document, ofrep_body
from tests.bench.flags.loading import report_loading
from tests.bench.flags.service import caller_headers, operators_client, postgres, service
from tests.bench.flags.unleash import unleash
from tests.bench.rig.load import Measured, Question, measure
from tests.bench.rig.processes import Server

BODIES = [ofrep_body(number) for number in range(100)]
BULK = "/ofrep/v1/evaluate/flags"
DOCUMENT = "/v1/environments/production/flagd"


class Table:
    """Measures and prints row by row; the first row of the peer is what the others are compared with."""

    def __init__(self, directory: Path, *, seconds: float, connections: int) -> None:
        self._directory = directory
        self._seconds = seconds
        self._connections = connections
        self._peer: Measured | None = None

    def add(self, name: str, server: Server, question: Question, *, is_peer: bool = False) -> None:
        """Measure a server after a second that warms it up."""
        for seconds in (1.0, self._seconds):
            row = measure(
                server, question, seconds=seconds, connections=self._connections, directory=self._directory
            )
        line = f"{name:40}{row.rate:8,.0f}/s  cpu {row.cpu:6.0f} us  p99 {row.slow:6.1f} ms"
        line += f"{server.memory_megabytes():6.0f} MB"
        if is_peer:
            self._peer = row
        elif self._peer is not None:
            line += f"  {row.rate / self._peer.rate:5.1f} times, by cpu {self._peer.cpu / row.cpu:5.1f}"
        print(line, flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="time for each row")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--own", action="store_true", help="only our rows")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, postgres() as url:
        table = Table(Path(temporary), seconds=arguments.seconds, connections=arguments.connections)
        if not arguments.own:
            with unleash(url, Path(temporary)) as peer:
                table.add("unleash-server, /api/frontend", peer.server, peer.question(3), is_peer=True)
        for name, access_log in (("without access log", False), ("with access log", True)):
            with service(url, access_log=access_log) as server:
                with operators_client(server) as client:
                    client.put(DOCUMENT, json=flagd_document()).raise_for_status()
                for what, path in (("bulk of 50 flags", BULK), ("single flag", f"{BULK}/flag-00003")):
                    question = Question(path, "POST", caller_headers(), BODIES)
                    table.add(f"flags, {what}, {name}", server, question)
        print()
        report_changes(url, seconds=arguments.seconds)
        print()
        report_loading(url)


if __name__ == "__main__":
    main()
