"""Expand: a nullable column, which running code of the old version does not notice."""

import sqlalchemy as sa
from alembic import op

revision = "0002expand"
down_revision = "0001create"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("products", sa.Column("slug", sa.Text(), nullable=True), schema="catalog")
    op.create_unique_constraint(op.f("uq_products_slug"), "products", ["slug"], schema="catalog")


def downgrade() -> None:
    op.drop_column("products", "slug", schema="catalog")
