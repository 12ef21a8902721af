"""Run a command, and start it anew when the code on PYTHONPATH changes: `reload.py COMMAND...`.

For docker-compose.dev.yml, inside images that hold nothing but their deployable: standard library only. It looks
instead of listening, because changes on a shared file system of a virtual machine are not announced.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

_LOOK_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 8
_CODE: Final = (".py", ".toml", ".html", ".css", ".js")


class Stopped(BaseException):
    """A signal asked for a stop."""


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped(number)


def snapshot(directories: list[Path]) -> dict[str, int]:
    """Return when each file of code was changed."""
    found: dict[str, int] = {}
    for directory in directories:
        for folder, _, names in os.walk(directory):
            for name in names:
                if name.endswith(_CODE):
                    path = os.path.join(folder, name)  # noqa: PTH118  a hot loop
                    try:
                        found[path] = os.stat(path).st_mtime_ns  # noqa: PTH116  as above
                    except OSError:  # an editor replaces it at this moment
                        continue
    return found


def wait_for_change(directories: list[Path], before: dict[str, int]) -> dict[str, int]:
    """Block until something differs, and return the new state."""
    while (now := snapshot(directories)) == before:
        time.sleep(_LOOK_SECONDS)
    return now


def end(child: subprocess.Popen[bytes]) -> int:
    """Stop a child, by force when it will not, and return its status."""
    child.terminate()
    try:
        return child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def main(command: list[str]) -> int:
    """Watch until stopped; a child that ends by itself, by a syntax error for instance, waits for the next change."""
    directories = [Path(each) for each in os.environ["PYTHONPATH"].split(os.pathsep)]
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _stop)
    state = snapshot(directories)
    child = subprocess.Popen(command)
    try:
        while True:
            state = wait_for_change(directories, state)
            print("reload: code changed", file=sys.stderr, flush=True)
            end(child)
            child = subprocess.Popen(command)
    except Stopped:
        end(child)
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
