"""Create schedules.

Revision: c41d9a0b7e35, after 5b0c6f1d2a91.
"""

import sqlalchemy as sa
from alembic import op

revision = "c41d9a0b7e35"
down_revision = "5b0c6f1d2a91"
branch_labels = None
depends_on = None

_SCHEMA = "flags"


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("flag_id", sa.Uuid(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("next_step", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["flags.environments.id"],
            name=op.f("fk_schedules_environment_id_environments"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["flag_id"], ["flags.flags.id"], name=op.f("fk_schedules_flag_id_flags")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
        schema=_SCHEMA,
    )
    op.create_index(
        "ix_schedules_next_at",
        "schedules",
        ["next_at"],
        schema=_SCHEMA,
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_index(
        "ix_schedules_flag_id_environment_id_id",
        "schedules",
        ["flag_id", "environment_id", "id"],
        schema=_SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("schedules", schema=_SCHEMA)
