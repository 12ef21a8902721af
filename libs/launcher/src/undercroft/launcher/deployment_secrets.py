"""The secrets of a deployment in containers, a file for each: made once, never overwritten."""

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from undercroft.launcher.data_directory import checkout_root
from undercroft.launcher.deployables import DEPLOYABLES, IDENTITY, Deployable
from undercroft.launcher.derived_secrets import DerivedSecrets
from undercroft.launcher.errors import LauncherError

_DATABASE: Final = "undercroft"
# Each file is bound into the one container that needs it, whose user is nobody on this machine and reads as "others".
# Of the machine's own users only the owner gets through the directory.
_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o444
_MASTER_MODE: Final = 0o400


def default_directory() -> Path:
    """Return `deploy/secrets`, where `docker-compose.yml` looks."""
    return (checkout_root() or Path.cwd()) / "deploy" / "secrets"


def make_secrets(directory: Path) -> list[str]:
    """Write every file that is missing and return their names.

    A deployable that joins later gets its files, and the others the keys they share with it: all are derived from
    `master`. Raises `LauncherError`.
    """
    try:
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        directory.chmod(_DIRECTORY_MODE)
        made = ["master"] if _write(directory / "master", secrets.token_urlsafe(32), _MASTER_MODE) else []
        master = (directory / "master").read_text("utf-8").strip()
        for name, value in _files(DerivedSecrets(master, [each.name for each in DEPLOYABLES])):
            if _write(directory / name, value, _FILE_MODE):
                made.append(name)
        made += [name for name in _principal_keys(directory, master) if name not in made]
    except OSError as error:
        raise LauncherError(
            f"cannot make secrets in {directory} ({error.strerror}): give this user access to it, or choose another "
            "directory with --directory"
        ) from error
    return made


def _files(derived: DerivedSecrets) -> Iterator[tuple[str, str]]:
    redis = derived.database_password("redis")
    yield "postgres_password", derived.database_password("postgres")
    yield "redis_conf", f"requirepass {redis}"
    yield "redis_url", f"redis://:{redis}@redis:6379/0"
    for each in DEPLOYABLES:
        yield f"{each.name}_secret_key", derived.secret_key(each.name)
        if each.has_database:
            yield f"{each.name}_database_url", _database_url(each, derived)
        if each.name == IDENTITY:
            yield "operator_key", _operator_key()


def _database_url(deployable: Deployable, derived: DerivedSecrets) -> str:
    name = deployable.name
    return f"postgresql://{name}:{derived.database_password(name)}@postgres:5432/{_DATABASE}"


def _operator_key() -> str:
    from undercroft.shared.ids import new_uuid7
    from undercroft.shared.tokens import mint_token

    return mint_token("live", new_uuid7()).text


def _principal_keys(directory: Path, master: str) -> Iterator[str]:
    """Add the pairs that are missing; one that is there stays, somebody may have replaced it on both sides."""
    derived = DerivedSecrets(master, [each.name for each in DEPLOYABLES])
    for each in DEPLOYABLES:
        path = directory / f"{each.name}_principal_keys"
        try:
            present: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        except ValueError:
            raise LauncherError(f"{path} is damaged: restore it, or remove it to have it made anew") from None
        whole = derived.principal_keys(each.name) | present
        if whole != present:
            _write_scratch(path, json.dumps(whole), _FILE_MODE).replace(path)
            yield path.name


def _write(path: Path, content: str, mode: int) -> bool:
    """Create a file whole or not at all; False when it is there."""
    if path.exists():
        return False
    scratch = _write_scratch(path, content, mode)
    try:
        with contextlib.suppress(FileExistsError):  # another process was faster: its file counts
            os.link(scratch, path)
            return True
    finally:
        scratch.unlink()
    return False


def _write_scratch(path: Path, content: str, mode: int) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content + "\n")
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), mode)
    return Path(name)
