"""Fill in the state of every definition, then require it.

Revision: b53cccbf475f, after 621ac6c67681.

A batch locks the environments first, as every writer does: an import that runs meanwhile waits and never deadlocks.
"""

import sqlalchemy as sa
from alembic import op

from undercroft.shared.migrations import backfill, require_values

revision = "b53cccbf475f"
down_revision = "621ac6c67681"
branch_labels = None
depends_on = None

_BATCH = sa.text("""
    WITH locked AS MATERIALIZED (SELECT id FROM flags.environments ORDER BY id FOR UPDATE)
    UPDATE flags.definitions SET state = flags.state_of(content)
    WHERE (environment_id, flag_id) IN (
        SELECT environment_id, flag_id FROM flags.definitions JOIN locked ON id = environment_id
        WHERE state IS NULL LIMIT 1000
    )
""")


def upgrade() -> None:
    backfill(_BATCH)
    require_values("definitions", "state", schema="flags")


def downgrade() -> None:
    # The values stay: the next upgrade fills in only what is missing.
    op.alter_column("definitions", "state", nullable=True, schema="flags")
