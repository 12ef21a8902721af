"""The server's log: appended to by PostgreSQL, kept below a bound by us, read back when a start fails."""

import contextlib
import os
import threading
from pathlib import Path

LIMIT_BYTES = 1024 * 1024
KEPT_BYTES = 256 * 1024
_CHECK_SECONDS = 30.0


class LogFile:
    """A log that another process appends to (O_APPEND), so that it can be cut in place while it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start_of_run = 0
        self._stopped = threading.Event()

    def open(self) -> int:
        """Return a descriptor to append with; what is written from now on is this run's."""
        self.trim()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._start_of_run = os.fstat(descriptor).st_size
        return descriptor

    def trim(self) -> None:
        """Keep only the end of a log that grew beyond its limit; lines written meanwhile may be lost."""
        if not self.path.exists() or self.path.stat().st_size <= LIMIT_BYTES:
            return
        with self.path.open("r+b") as log:
            log.seek(-KEPT_BYTES, os.SEEK_END)
            kept = log.read().partition(b"\n")[2]
            log.seek(0)
            log.truncate()
            log.write(kept)
        self._start_of_run = 0

    def watch(self) -> None:
        """Trim now and then, in a daemon thread, until `unwatch`."""
        self._stopped = threading.Event()
        threading.Thread(
            target=self._watch, args=[self._stopped], name=f"trim {self.path}", daemon=True
        ).start()

    def unwatch(self) -> None:
        """End the thread of `watch`."""
        self._stopped.set()

    def _watch(self, stopped: threading.Event) -> None:
        while not stopped.wait(_CHECK_SECONDS):
            with contextlib.suppress(OSError):
                self.trim()

    def reason(self) -> str:
        """Return the line of this run that tells why it ended: the last fatal one, else the last."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as log:
            log.seek(self._start_of_run)
            lines = log.read().decode("utf-8", "replace").splitlines()
        fatal = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "error:"))]
        return next((line.strip() for line in reversed(fatal or lines) if line.strip()), "")
