"""Schema migrations of one service: which revision, whether behind, and the one place that runs Alembic.

Alembic takes half a second to import, so only what changes or compares a schema imports it. Every history lives
in its own schema with its own version table; nothing here relies on `search_path`.
"""

from undercroft.shared.migrations.environment import backfill, require_values, run_env
from undercroft.shared.migrations.errors import (
    MigrationError,
    ModelsDifferError,
    SchemaNewerThanCodeError,
    SeveralHeadsError,
)
from undercroft.shared.migrations.runner import (
    check,
    downgrade,
    history,
    merge,
    require_current,
    revision,
    upgrade,
    upgrade_if_behind,
)
from undercroft.shared.migrations.versions import current_revision, find_migrations, head_revision, heads

__all__ = [
    "MigrationError",
    "ModelsDifferError",
    "SchemaNewerThanCodeError",
    "SeveralHeadsError",
    "backfill",
    "check",
    "current_revision",
    "downgrade",
    "find_migrations",
    "head_revision",
    "heads",
    "history",
    "merge",
    "require_current",
    "require_values",
    "revision",
    "run_env",
    "upgrade",
    "upgrade_if_behind",
]
