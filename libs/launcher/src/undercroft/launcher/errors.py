"""Why `undercroft` cannot do what it was asked, each as one line that says what to do.

LauncherError
├── DataDirectoryUnusableError    it cannot be read, written or understood
├── AlreadyRunningError           another `up` uses the data directory
└── DatabaseUnusableError         the database of --database-url is away or refuses
"""

from pathlib import Path

from undercroft.shared.listeners import ListenError


class LauncherError(Exception):
    """Base of every error here; `str(error)` is one line made for the user's eyes."""


class DataDirectoryUnusableError(LauncherError):
    """The data directory cannot be read, written or understood."""


class AlreadyRunningError(LauncherError):
    """Another `undercroft up` uses the data directory."""


class DatabaseUnusableError(LauncherError):
    """The database of --database-url cannot be reached or refuses what is needed."""


def unusable(path: Path, error: Exception) -> DataDirectoryUnusableError:
    """Explain why a file of the data directory cannot be used."""
    reason = error.strerror if isinstance(error, OSError) else None
    return DataDirectoryUnusableError(
        f"cannot use {path}: {reason or error}; "
        "give this user access to it, or choose another directory with --data-dir"
    )


def explain(error: BaseException) -> str | None:
    """Return the one line that explains an error we expect, None for an error that is a bug.

    Most classes are imported here because only a failure needs them, and what holds them is heavy.
    """
    if isinstance(error, LauncherError | ListenError):
        return str(error)
    from undercroft.shared.postgres_server import PostgresServerError

    if isinstance(error, PostgresServerError):
        return str(error)
    from undercroft.shared.migrations import MigrationError
    from undercroft.shared.settings import SettingsError

    if isinstance(error, MigrationError | SettingsError):
        return str(error)
    return None
