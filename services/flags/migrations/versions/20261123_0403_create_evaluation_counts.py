"""Create the counts of evaluations and the times of the last ones.

Revision: e7a52f3c8d04, after c41d9a0b7e35.
"""

import sqlalchemy as sa
from alembic import op

revision = "e7a52f3c8d04"
down_revision = "c41d9a0b7e35"
branch_labels = None
depends_on = None

_SCHEMA = "flags"


def upgrade() -> None:
    op.create_table(
        "evaluation_counts",
        sa.Column("flag_id", sa.Uuid(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "flag_id", "hour", "environment_id", "variant", "reason", name=op.f("pk_evaluation_counts")
        ),
        schema=_SCHEMA,
    )
    op.create_index(op.f("ix_evaluation_counts_hour"), "evaluation_counts", ["hour"], schema=_SCHEMA)
    op.create_table(
        "last_evaluations",
        sa.Column("flag_id", sa.Uuid(), nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("flag_id", "environment_id", name=op.f("pk_last_evaluations")),
        schema=_SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("last_evaluations", schema=_SCHEMA)
    op.drop_table("evaluation_counts", schema=_SCHEMA)
