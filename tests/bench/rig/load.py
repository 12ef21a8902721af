"""Load from the second core, and what it cost the server."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.rig.processes import LOAD_CORE, Server

_TURNS: Final = """
local bodies, at = { %s }, 0
request = function()
  at = at %% #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end
"""


class Measured(NamedTuple):
    """Requests per second, microseconds of the server's core for each, milliseconds at the 99th percentile."""

    rate: float
    cpu: float
    slow: float


@dataclass(frozen=True, slots=True)
class Question:
    """A request that is sent again and again, with each of some bodies in turn, so that no cache of one helps."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    bodies: Sequence[str] = ("",)

    def script(self) -> str:
        """Return the request as wrk reads it: JSON's strings are Lua's, as long as they are plain."""
        lines = [f"wrk.method = {json.dumps(self.method)}", f"wrk.body = {json.dumps(self.bodies[0])}"]
        lines += [
            f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in self.headers.items()
        ]
        if len(self.bodies) > 1:
            lines.append(_TURNS % ", ".join(json.dumps(body) for body in self.bodies))
        return "\n".join(lines)


def measure(
    server: Server, question: Question, *, seconds: float, connections: int, directory: Path
) -> Measured:
    """Ask for a while; anything but success ends the run."""
    script = directory / "request.lua"
    script.write_text(question.script())
    command = [
        "taskset",
        "-c",
        str(LOAD_CORE),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds:g}s",
        "--latency",
    ]
    before = server.cpu_seconds()
    output = subprocess.run(
        [*command, "-s", str(script), server.url + question.path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    cpu = server.cpu_seconds() - before
    found = [
        re.search(pattern, output)
        for pattern in (r"Requests/sec:\s+([\d.]+)", r"(\d+) requests in", r"99%\s+([\d.]+)(us|ms|s)\b")
    ]
    rate, total, slow = found
    if "Non-2xx" in output or "Socket errors" in output or rate is None or total is None or slow is None:
        raise SystemExit(f"{server.url}{question.path}: {output}")
    milliseconds = float(slow[1]) * {"us": 0.001, "ms": 1, "s": 1000}[slow[2]]
    return Measured(float(rate[1]), cpu / int(total[1]) * 1e6, milliseconds)
