"""Where the socket lies: in the data directory, or in a private directory when that path cannot serve."""

import os
import sys
import zlib
from pathlib import Path

from undercroft.shared.postgres_server.errors import DataDirectoryError

SOCKET_NAME = ".s.PGSQL.5432"
# sizeof(sockaddr_un.sun_path) without the final NUL
_LONGEST_PATH = 107 if sys.platform == "linux" else 103


def choose_socket_directory(data_directory: Path) -> Path:
    """Return the data directory, or else a place of constant name below the runtime or temporary directory.

    The path must fit a socket address, and hold no comma, which separates hosts in a database URL.
    """
    if _can_serve(data_directory):
        return data_directory
    name = f"undercroft-{os.geteuid()}-{zlib.crc32(os.fsencode(data_directory)):08x}"
    # Root's runtime directory is closed to the account that runs the server.
    runtime = os.environ.get("XDG_RUNTIME_DIR", "") if os.geteuid() != 0 else ""
    for base in (runtime, os.environ.get("TMPDIR", "")):
        if base.startswith("/") and os.access(base, os.W_OK | os.X_OK) and _can_serve(Path(base, name)):
            return Path(base, name)
    return Path("/tmp", name)  # noqa: S108 - `make_private` refuses a directory that is not ours


def make_private(directory: Path, account: tuple[int, int] | None) -> None:
    """Make the private directory (0700), owned by the account; raise DataDirectoryError when another user has it."""
    directory.mkdir(mode=0o700, exist_ok=True)
    owners = {os.geteuid(), *(account or ())[:1]}
    if directory.is_symlink() or directory.lstat().st_uid not in owners:
        raise DataDirectoryError(f"{directory} is not ours: remove it, or set TMPDIR to another directory")
    directory.chmod(0o700)
    if account is not None:
        os.chown(directory, *account)


def clear(directory: Path) -> None:
    """Remove what a killed server left: PostgreSQL takes any live process of the number in the lock for its owner."""
    for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
        (directory / name).unlink(missing_ok=True)


def _can_serve(directory: Path) -> bool:
    path = os.fsencode(directory / SOCKET_NAME)
    return len(path) <= _LONGEST_PATH and b"," not in path
