"""Fill in when each secret was made, then require it.

That is the key's last rotation, or else its creation. Rotations are in the outbox, which goes back some weeks: a secret
that was rotated earlier shows the key's own age. Too old is the safe error, for what is old gets rotated.
"""

import sqlalchemy as sa
from alembic import op

from undercroft.shared.ids import TypeId
from undercroft.shared.migrations import backfill, require_values

revision = "57e0a83f1cd4"
down_revision = "9c41d07be2a6"
branch_labels = None
depends_on = None

_ROTATIONS = sa.text("""
    SELECT subject, max(time) AS rotated_at FROM identity.outbox
    WHERE type = 'dev.undercroft.api_key.rotated' GROUP BY subject
""")

_BATCH = sa.text("""
    UPDATE identity.api_keys AS key SET secret_created_at = made.at
    FROM (
        SELECT id, coalesce(rotated_at, created_at) AS at
        FROM identity.api_keys LEFT JOIN unnest(:key_ids, :rotations) AS rotation (id, rotated_at) USING (id)
        WHERE secret_created_at IS NULL ORDER BY id LIMIT 1000
    ) AS made
    WHERE key.id = made.id
""").bindparams(
    sa.bindparam("key_ids", type_=sa.ARRAY(sa.Uuid())),
    sa.bindparam("rotations", type_=sa.ARRAY(sa.DateTime(timezone=True))),
)


def upgrade() -> None:
    rotations = {
        TypeId.parse(subject, expect="key").uuid: rotated_at
        for subject, rotated_at in op.get_bind().execute(_ROTATIONS)
    }
    backfill(_BATCH.bindparams(key_ids=list(rotations), rotations=list(rotations.values())))
    require_values("api_keys", "secret_created_at", schema="identity")


def downgrade() -> None:
    # The values stay: the next upgrade fills in only what is missing.
    op.alter_column("api_keys", "secret_created_at", nullable=True, schema="identity")
