"""`undercroft up --reload`: a parent that watches the checkout's code, and a child that serves.

The parent holds the listening sockets: requests made during a restart wait for the new child.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from typing_extensions import override
from watchfiles import Change, DefaultFilter, watch

from undercroft.launcher.data_directory import checkout_root
from undercroft.launcher.errors import LauncherError
from undercroft.launcher.options import LISTEN_OPTIONS, UpOptions
from undercroft.shared import listeners

_PATTERNS: Final = ("gateway/src", "libs/*/src", "services/*/src", "services/*/migrations")
_SUFFIXES: Final = (".py", ".toml", ".html", ".json")
_CHECK_MILLISECONDS: Final = 500
_STOP_SECONDS: Final = 5


def serve_and_watch(options: UpOptions) -> int:
    """Serve in a child that is replaced when code changes; returns the exit status.

    A child that cannot start at all ends the parent too; one that fails after a change is replaced at the next one.
    """
    folders = _folders()
    sockets = listeners.listen(options.host, options.port, names=LISTEN_OPTIONS)
    try:
        return _Parent(options, sockets).run(folders)
    finally:
        listeners.close(sockets)


def _folders() -> list[Path]:
    root = checkout_root()
    if root is None:
        raise LauncherError(
            "--reload watches a checkout and there is none here: run it from a clone, or without --reload"
        )
    return [folder for pattern in _PATTERNS for folder in sorted(root.glob(pattern))]


class CodeFilter(DefaultFilter):
    """Lets through what a restart would read: code, tables and templates, not what tools leave beside them."""

    @override
    def __call__(self, change: Change, path: str) -> bool:
        return path.endswith(_SUFFIXES) and super().__call__(change, path)


class _Parent:
    """Keeps one child serving, until it is told to stop."""

    def __init__(self, options: UpOptions, sockets: list[socket.socket]) -> None:
        self._command = [sys.executable, "-m", "undercroft.launcher", "up", *_arguments(options)]
        self._environment = {**os.environ, **_environment(options)}
        # When this process dies, however it dies, the pipe's other end tells the child.
        self._lifeline = os.pipe()
        self._descriptors = [each.fileno() for each in sockets]
        self._stop = threading.Event()
        self._child = self._spawn()

    def run(self, folders: Sequence[Path]) -> int:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, self._on_signal)
        has_restarted = False
        for changes in watch(
            *folders,
            watch_filter=CodeFilter(),
            stop_event=self._stop,
            rust_timeout=_CHECK_MILLISECONDS,
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            if changes:
                self._restart(sorted({Path(path).name for _, path in changes}))
                has_restarted = True
            elif not has_restarted and self._child.poll() is not None:
                return self._child.returncode
        return self._end_child()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        inherited = [*self._descriptors, self._lifeline[0]]
        arguments = [f"--listen-fd={each}" for each in self._descriptors]
        return subprocess.Popen(
            [*self._command, *arguments, f"--lifeline-fd={self._lifeline[0]}"],
            env=self._environment,
            pass_fds=inherited,
            # The terminal's Ctrl-C is for the parent, which passes it on once.
            process_group=0,
        )

    def _restart(self, names: list[str]) -> None:
        sys.stderr.write(f"undercroft: {', '.join(names)} changed, restarting\n")
        self._end_child()
        self._child = self._spawn()

    def _end_child(self) -> int:
        self._child.terminate()
        try:
            return self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._stop.is_set():
            self._child.terminate()  # the child's second signal, which forces it
        self._stop.set()


def _arguments(options: UpOptions) -> list[str]:
    arguments = [
        "--host",
        options.host,
        "--port",
        str(options.port),
        "--data-dir",
        str(options.data_directory),
    ]
    return [*arguments, "--log-format", options.log_format] if options.log_format else arguments


def _environment(options: UpOptions) -> dict[str, str]:
    """Addresses hold passwords, so they travel where `ps` does not show them."""
    given = {
        "UNDERCROFT_DATABASE_URL": options.database_url,
        "UNDERCROFT_REDIS_URL": options.redis_url,
        "UNDERCROFT_PUBLIC_URL": options.public_url,
    }
    return {name: value for name, value in given.items() if value is not None}
