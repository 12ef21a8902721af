"""What can be wrong with a schema's history.

MigrationError
├── SchemaNewerThanCodeError
├── SeveralHeadsError
└── ModelsDifferError
"""


class MigrationError(Exception):
    """The schema cannot be brought where it should be; the message is one line that says what to do."""


class SchemaNewerThanCodeError(MigrationError):
    """The database was migrated by a later version of the code."""


class SeveralHeadsError(MigrationError):
    """Two branches were written at the same time and nobody merged them."""


class ModelsDifferError(MigrationError):
    """The models say something that no migration says."""
