"""The example's models after its last migration."""

import sqlalchemy as sa

from undercroft.shared.db import metadata_for

metadata = metadata_for("catalog")

products = sa.Table(
    "products",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("slug", sa.Text, nullable=False, unique=True),
)
