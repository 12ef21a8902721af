"""Fill the new column: a data migration in batches that commit by themselves and resume where they stopped."""

import sqlalchemy as sa

from undercroft.shared.migrations import backfill

revision = "0003fill"
down_revision = "0002expand"
branch_labels = None
depends_on = None

_BATCH = sa.text("""
    UPDATE catalog.products
    SET slug = lower(replace(name, ' ', '-')) || '-' || id
    WHERE id IN (SELECT id FROM catalog.products WHERE slug IS NULL ORDER BY id LIMIT 100)
""")


def upgrade() -> None:
    backfill(_BATCH)


def downgrade() -> None:
    """Leave the values: the next upgrade fills only what is missing."""
