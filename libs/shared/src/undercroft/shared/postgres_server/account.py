"""Which system account runs PostgreSQL, which refuses to run as root."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

_ACCOUNT = "undercroft"
_ACCOUNT_OF_LAST_RESORT = "nobody"


def choose_account(data_directory: Path) -> tuple[int, int] | None:
    """Return the (uid, gid) to run as, or None for an ordinary user, who runs it himself.

    Root runs it as the owner of an existing data directory; for a new one as the account `undercroft`, made when
    missing, or as `nobody` where accounts cannot be made (no useradd, read-only /etc).
    """
    if os.geteuid() != 0:
        return None
    if data_directory.exists():
        owner = data_directory.stat()
        if owner.st_uid != 0:
            return owner.st_uid, owner.st_gid
    entry = _find(_ACCOUNT) or _create(_ACCOUNT) or pwd.getpwnam(_ACCOUNT_OF_LAST_RESORT)
    return entry.pw_uid, entry.pw_gid


def own_tree(directory: Path, account: tuple[int, int]) -> None:
    """Give the directory and all below it to the account; links are not followed."""
    for parent, directories, files in os.walk(directory):
        for name in [*directories, *files]:
            os.chown(Path(parent, name), *account, follow_symlinks=False)
    os.chown(directory, *account)


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _create(name: str) -> pwd.struct_passwd | None:
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if useradd is None:
        return None
    command = [
        useradd,
        "--system",
        "--no-create-home",
        "--home-dir",
        "/nonexistent",
        "--shell",
        "/bin/false",
        name,
    ]
    subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    return _find(name)
