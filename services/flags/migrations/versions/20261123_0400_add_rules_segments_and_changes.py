"""Add rules beside compiled definitions, segments, the history of changes, and the expiry of flags.

Revision: 5b0c6f1d2a91, after b53cccbf475f. Only adds: code of the version before goes on working.
"""

import sqlalchemy as sa
from alembic import op

revision = "5b0c6f1d2a91"
down_revision = "b53cccbf475f"
branch_labels = None
depends_on = None

_SCHEMA = "flags"


def upgrade() -> None:
    op.add_column("flags", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True), schema=_SCHEMA)
    for column in (
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("requires", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("segments", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    ):
        op.add_column("definitions", column, schema=_SCHEMA)
    _create_segments()
    _create_changes()


def downgrade() -> None:
    op.drop_table("changes", schema=_SCHEMA)
    op.drop_table("segments", schema=_SCHEMA)
    for column in ("segments", "requires", "source"):
        op.drop_column("definitions", column, schema=_SCHEMA)
    op.drop_column("flags", "expires_at", schema=_SCHEMA)


def _create_segments() -> None:
    op.create_table(
        "segments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segments")),
        sa.UniqueConstraint("key", name=op.f("uq_segments_key")),
        schema=_SCHEMA,
    )


def _create_changes() -> None:
    op.create_table(
        "changes",
        sa.Column(
            "revision",
            sa.BigInteger(),
            server_default=sa.text("nextval('flags.revisions'::regclass)"),
            nullable=False,
            autoincrement=False,
        ),
        sa.Column("flag_id", sa.Uuid(), nullable=True),
        sa.Column("environment", sa.Text(), nullable=True),
        sa.Column("segment", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("schedule_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["flag_id"], ["flags.flags.id"], name=op.f("fk_changes_flag_id_flags")),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_changes")),
        schema=_SCHEMA,
    )
    op.create_index("ix_changes_flag_id_revision", "changes", ["flag_id", "revision"], schema=_SCHEMA)
    op.create_index("ix_changes_segment_revision", "changes", ["segment", "revision"], schema=_SCHEMA)
