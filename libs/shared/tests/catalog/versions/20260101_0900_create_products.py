"""Create products."""

import sqlalchemy as sa
from alembic import op

revision = "0001create"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "products",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_products")),
        schema="catalog",
    )


def downgrade() -> None:
    op.drop_table("products", schema="catalog")
