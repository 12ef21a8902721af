"""A server that an earlier launcher left behind: find it by its pid file, and stop it."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

_POLL_SECONDS = 0.02
_READY_LINE = 7
_SOCKET_DIRECTORY_LINE = 4


class Postmaster(NamedTuple):
    """What `postmaster.pid` says; the source of its line order is PostgreSQL's src/include/utils/pidfile.h."""

    pid: int
    socket_directory: str
    is_ready: bool


def read_postmaster(data_directory: Path) -> Postmaster | None:
    """Return the content of the pid file, or None when there is none or it is still being written."""
    try:
        lines = (data_directory / "postmaster.pid").read_text("utf-8", "surrogateescape").split("\n")
        pid = int(lines[0])
    except (FileNotFoundError, ValueError):
        return None
    lines += [""] * (_READY_LINE + 1 - len(lines))
    return Postmaster(pid, lines[_SOCKET_DIRECTORY_LINE], lines[_READY_LINE].strip() == "ready")


def stop_leftover(data_directory: Path, *, patience_seconds: float = 10) -> None:
    """Stop a live server of this data directory and remove its pid file. The caller holds the directory's lock.

    A pid file that names a process which is not such a server is removed too: PostgreSQL would take any live process
    of that number for its predecessor. Processes that still use the data are noticed by PostgreSQL itself, by shared
    memory.
    """
    postmaster = read_postmaster(data_directory)
    if postmaster is None:
        return
    for signal_number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if not _is_postgres_of(postmaster.pid, data_directory):
            break
        os.kill(postmaster.pid, signal_number)
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline and _is_postgres_of(postmaster.pid, data_directory):
            time.sleep(_POLL_SECONDS)
    (data_directory / "postmaster.pid").unlink(missing_ok=True)


def _is_postgres_of(pid: int, data_directory: Path) -> bool:
    """Tell whether the process lives and is a postgres with this data directory; a zombie is not."""
    command = _command_line(pid)
    if "/postgres -D " not in command:
        return False
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data_directory)
    except OSError:
        # macOS, or root without CAP_SYS_PTRACE (a container): the arguments have to do.
        return f"/postgres -D {data_directory} " in command


def _command_line(pid: int) -> str:
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "surrogateescape").replace("\0", " ")
        except OSError:
            return ""
    ps = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(ps, check=False, capture_output=True, text=True).stdout
