"""Fill in whether definitions are enabled, in batches.

Revision: 8f2f64c7be10, after 5b0c6f1d2a91. In Python: PostgreSQL cannot read every text that is valid JSON.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "8f2f64c7be10"
down_revision = "5b0c6f1d2a91"
branch_labels = None
depends_on = None

_BATCH = 1_000
_definitions = sa.table(
    "definitions",
    sa.column("environment_id", sa.Uuid()),
    sa.column("flag_id", sa.Uuid()),
    sa.column("content", sa.Text()),
    sa.column("is_enabled", sa.Boolean()),
    schema="flags",
)


def upgrade() -> None:
    connection = op.get_bind()
    unfilled = sa.select(_definitions).where(_definitions.c.is_enabled.is_(None)).limit(_BATCH)
    while rows := connection.execute(unfilled).all():
        for row in rows:
            is_enabled = json.loads(row.content).get("state") == "ENABLED"
            connection.execute(
                sa.update(_definitions)
                .where(
                    _definitions.c.environment_id == row.environment_id,
                    _definitions.c.flag_id == row.flag_id,
                )
                .values(is_enabled=is_enabled)
            )


def downgrade() -> None:
    """Leave what was filled in: the column goes with the revision before."""
