"""Expand: whether a definition is on, beside the text that says so; empty for the definitions that are there.

Revision: 621ac6c67681, after 1376af190aff.

The version of the code before this one does not know the column: the triggers write it in its place, and are to be
dropped by a revision of a version that follows this one. Neither fires for rows that come with their state.
"""

import sqlalchemy as sa
from alembic import op

revision = "621ac6c67681"
down_revision = "1376af190aff"
branch_labels = None
depends_on = None

# An escaped NUL stops PostgreSQL's reader. No escape matters to the state, and what replaces them is no name of a member.
_STATE_OF = r"""
    CREATE FUNCTION flags.state_of(content text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE CAST(regexp_replace(content, '\\.', '?', 'g') AS json) ->> 'state'
        WHEN 'ENABLED' THEN 'ENABLED' ELSE 'DISABLED' END
"""

_WRITE_STATE = """
    CREATE FUNCTION flags.write_state() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.state = flags.state_of(NEW.content); RETURN NEW; END $$
"""

_TRIGGERS = {
    "state_of_inserted": "BEFORE INSERT ON flags.definitions FOR EACH ROW WHEN (NEW.state IS NULL)",
    "state_of_updated": (
        "BEFORE UPDATE OF content ON flags.definitions FOR EACH ROW WHEN (NEW.state IS NOT DISTINCT FROM OLD.state)"
    ),
}


def upgrade() -> None:
    op.add_column("definitions", sa.Column("state", sa.Text(), nullable=True), schema="flags")
    op.execute(_STATE_OF)
    op.execute(_WRITE_STATE)
    for name, when in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION flags.write_state()")


def downgrade() -> None:
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON flags.definitions")
    op.execute("DROP FUNCTION flags.write_state")
    op.execute("DROP FUNCTION flags.state_of")
    op.drop_column("definitions", "state", schema="flags")
