"""The data directory: where it is, who uses it, and the secrets that it keeps. Standard library only."""

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from undercroft.launcher.errors import AlreadyRunningError, DataDirectoryUnusableError, unusable

NAME = ".undercroft"
MAIL_DIRECTORY = "mail"
_MASTER_SECRET_BYTES = 32
_LEAST_SECRET_CHARACTERS = 32


def checkout_root() -> Path | None:
    """Return the top of the checkout that this code runs from, None when it is installed from a wheel."""
    parents = Path(__file__).resolve().parents
    root = parents[5] if len(parents) > 5 else None  # noqa: PLR2004  root/libs/launcher/src/undercroft/launcher
    return root if root and (root / "uv.lock").is_file() and (root / "libs/launcher/src").is_dir() else None


def default_location() -> Path:
    """Return `.undercroft` in the checkout, whatever the current directory; without one, in the current directory."""
    return (checkout_root() or Path.cwd()) / NAME


class DataDirectory:
    """What `up` leaves on disk.

    `postgres/` (with its log and lock), `secrets` (the master secret), `operator.key` and `up.lock`. Both secrets are
    readable by their owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self.postgres = self.path / "postgres"
        self.operator_key = self.path / "operator.key"
        self._secrets = self.path / "secrets"
        self._lock = self.path / "up.lock"

    def make(self) -> None:
        """Create the directory where it is missing; raises `DataDirectoryUnusableError`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise DataDirectoryUnusableError(
                f"{self.path} is not a directory: choose another place with --data-dir"
            ) from None
        except OSError as error:
            raise unusable(self.path, error) from error

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold the directory for one `up`; raises `AlreadyRunningError` when another one does.

        The lock is the kernel's and ends with the process, however it dies.
        """
        self.make()
        try:
            lock = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise unusable(self._lock, error) from error
        try:
            self._acquire(lock)
            yield
        finally:
            os.close(lock)

    def _acquire(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode("ascii", "replace").strip() or "unknown"
            raise AlreadyRunningError(
                f"undercroft already runs on {self.path} (process {holder}): "
                "stop that one, or choose another directory with --data-dir"
            ) from None
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())

    def master_secret(self) -> str:
        """Return the secret that all others are derived from, made at the first call.

        Raises `DataDirectoryUnusableError`, also for a damaged file: a new secret would make what the old one
        encrypted unreadable, so nobody but the user may throw it away.
        """
        try:
            if not self._secrets.exists():
                self.make()
                content = json.dumps({"master": secrets.token_urlsafe(_MASTER_SECRET_BYTES)})
                with contextlib.suppress(FileExistsError):  # another process was faster: its secret counts
                    _write_once(self._secrets, content + "\n")
            master = json.loads(self._secrets.read_text("utf-8"))["master"]
        except OSError as error:
            raise unusable(self._secrets, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged() from error
        if not isinstance(master, str) or len(master) < _LEAST_SECRET_CHARACTERS:
            raise self._damaged()
        return master

    def _damaged(self) -> DataDirectoryUnusableError:
        return DataDirectoryUnusableError(
            f"{self._secrets} is damaged: restore it from a backup, or choose another directory with --data-dir"
        )

    def write_operator_key(self, key: str) -> None:
        """Keep an operator key in place of any earlier one, in one step."""
        try:
            _write_scratch(self.operator_key, key + "\n").replace(self.operator_key)
            _sync(self.path)
        except OSError as error:
            raise unusable(self.operator_key, error) from error


def _write_once(path: Path, content: str) -> None:
    """Create a file whole or not at all; raises `FileExistsError`."""
    scratch = _write_scratch(path, content)
    try:
        os.link(scratch, path)
    finally:
        scratch.unlink()
    _sync(path.parent)


def _write_scratch(path: Path, content: str) -> Path:
    # mkstemp makes it 0600 from the start: there is no moment in which others can read it.
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
