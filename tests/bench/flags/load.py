"""Load from wrk on the second core, and what it costs the process that answers."""

import contextlib
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
CONNECTIONS: Final = 32
_TICKS: Final = os.sysconf("SC_CLK_TCK")
# Bodies differ, so that no server can answer from a cache of one.
_SCRIPT: Final = """
local bodies = {{ {bodies} }}
local headers = {{ {headers} }}
local at = 0
request = function()
  at = at % #bodies + 1
  return wrk.format("{method}", nil, headers, bodies[at])
end
"""


class Measured(NamedTuple):
    """One row: requests a second, the 99th percentile, CPU microseconds of the server for a request."""

    rate: float
    slow: str
    microseconds: float


def free_port() -> int:
    """Return a port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until somebody listens."""
    for _ in range(1200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"nobody listens on {port}")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has taken, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_megabytes(pid: int) -> float:
    """Return what a process holds in memory now."""
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return resident * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(
    url: str,
    *,
    pid: int,
    seconds: float,
    headers: Mapping[str, str],
    bodies: Sequence[str] = ("",),
    method: str = "POST",
    connections: int = CONNECTIONS,
) -> Measured:
    """Load a server for some seconds; anything but success ends the run."""
    script = _SCRIPT.format(
        bodies=", ".join(_lua(body) for body in bodies),
        headers=", ".join(f"[ {_lua(name)} ] = {_lua(value)}" for name, value in headers.items()),
        method=method,
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", "--latency"]
        command += ["-s", file.name]
        subprocess.run([*command, "-d1s", url], capture_output=True, check=True)
        before = cpu_seconds(pid)
        output = subprocess.run(
            [*command, f"-d{seconds:g}s", url], capture_output=True, text=True, check=True
        ).stdout
        spent = cpu_seconds(pid) - before
    if "Non-2xx" in output:
        raise SystemExit(f"{url}: {output}")
    number = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    slow = re.search(r"99%\s+(\S+)", output)
    if number is None or rate is None or slow is None:
        raise SystemExit(f"wrk said: {output}")
    return Measured(float(rate[1]), slow[1], spent / int(number[1]) * 1e6)


def _lua(text: str) -> str:
    return "[==[" + text + "]==]"
