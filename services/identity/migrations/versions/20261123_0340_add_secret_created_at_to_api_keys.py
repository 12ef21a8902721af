"""Expand: when an API key's secret was made; empty for the keys that are there.

The version of the code before this one does not know the column: the keys that it makes get the time of their insert.
What it rotates until it is gone shows the time of the secret before, which errs on the side of one rotation more.
"""

import sqlalchemy as sa
from alembic import op

revision = "9c41d07be2a6"
down_revision = "e234ee09e8ff"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("secret_created_at", sa.DateTime(timezone=True), nullable=True)
    op.add_column("api_keys", column, schema="identity")
    # Not with the column: every row that is there would take the default.
    op.alter_column("api_keys", "secret_created_at", server_default=sa.text("now()"), schema="identity")


def downgrade() -> None:
    op.drop_column("api_keys", "secret_created_at", schema="identity")
