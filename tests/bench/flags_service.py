"""The flags service as it runs in production beside npm unleash-server, each one process on one core.

    uv run python -m tests.bench.flags_service [--seconds 5] [--unleash .undercroft/bench]

The server under test is pinned to the first core, wrk to the second; all rows are of one run: compare rows, never runs.
CPU is that of the server's process for a request, and the ratio compares it with unleash-server's. The comparable set: 50 flags, 15 segments, 15 traits. Then loading 10,000 flags,
and changes under two replicas. Compiled evaluations beside flagd's own are in `flags_engine.py`. Needs wrk and two
cores, and npm's registry for unleash-server, which is installed below `--unleash`; without it only our rows are printed.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
from tests.bench.flags.changes import report_changes
from tests.bench.flags.environment import flagd_document, ofrep_body
from tests.bench.flags.load import Measured, measure, memory_megabytes
from tests.bench.flags.loading import report_loading
from tests.bench.flags.service import Service, caller_headers, postgres, service
from tests.bench.flags.unleash import FRONTEND_TOKEN, Unleash, UnleashMissingError, unleash

BODIES = [ofrep_body(number) for number in range(100)]
BULK = "/ofrep/v1/evaluate/flags"
DOCUMENT = "/v1/environments/production/flagd"


def show(name: str, row: Measured, peer: Measured | None, *, megabytes: float) -> None:
    """Print one row."""
    ratio = "" if peer is None else f"{peer.microseconds / row.microseconds:7.1f} x"
    print(
        f"{name:44}{row.rate:9,.0f}/s{row.microseconds:8.0f} us CPU  p99 {row.slow:9}{megabytes:6.0f} MB{ratio}",
        flush=True,
    )


def measure_unleash(database_url: str, directory: Path, seconds: float) -> Measured | None:
    """Measure the peer, or say why not."""
    try:
        with unleash(database_url, directory) as running:
            headers = {"Authorization": FRONTEND_TOKEN}
            _wait_for_flags(running, headers)
            row = measure(
                running.frontend_url(3), pid=running.pid, seconds=seconds, headers=headers, method="GET"
            )
            show("unleash-server, /api/frontend", row, row, megabytes=memory_megabytes(running.pid))
            return row
    except UnleashMissingError as error:
        print(f"unleash-server: {error}")
        return None


def _wait_for_flags(running: Unleash, headers: Mapping[str, str]) -> None:
    """It answers from a copy that it refreshes every few seconds."""
    for _ in range(60):
        if httpx.get(running.frontend_url(3), headers=headers).json().get("toggles"):
            return
        time.sleep(1)
    raise UnleashMissingError("its flags do not appear")


def measure_ours(running: Service, name: str, seconds: float, peer: Measured | None) -> None:
    """Measure both evaluations."""
    with running.client() as client:
        client.put(DOCUMENT, json=flagd_document()).raise_for_status()
    for what, path in (("bulk of 50 flags", BULK), ("single flag", f"{BULK}/flag-00003")):
        url = running.url + path
        row = measure(url, pid=running.pid, seconds=seconds, headers=caller_headers(), bodies=BODIES)
        show(f"flags, {what}, {name}", row, peer, megabytes=memory_megabytes(running.pid))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="time for each row")
    parser.add_argument(
        "--unleash", type=Path, default=Path(".undercroft/bench"), help="where it is installed"
    )
    arguments = parser.parse_args()
    with postgres() as url:
        peer = measure_unleash(url, arguments.unleash.resolve(), arguments.seconds)
        for name, access_log in (("without access log", False), ("with access log", True)):
            with service(url, access_log=access_log) as running:
                measure_ours(running, name, arguments.seconds, peer)
        print()
        report_changes(url, seconds=arguments.seconds)
        print()
        report_loading(url)


if __name__ == "__main__":
    main()
