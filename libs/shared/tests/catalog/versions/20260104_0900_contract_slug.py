"""Contract: demand the column once every row has it and all running code writes it."""

from alembic import op

from undercroft.shared.migrations import require_values

revision = "0004contract"
down_revision = "0003fill"
branch_labels = None
depends_on = None


def upgrade() -> None:
    require_values("products", "slug", schema="catalog")


def downgrade() -> None:
    op.alter_column("products", "slug", nullable=True, schema="catalog")
