"""Create environments, flags, definitions, outbox and stored answers, with the three usual environments.

Revision: 1376af190aff, after nothing.
"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from undercroft.shared.events.outbox import Xid8
from undercroft.shared.ids import new_uuid7

revision = "1376af190aff"
down_revision = None
branch_labels = None
depends_on = None

_SCHEMA = "flags"
_DEFAULT_ENVIRONMENTS = ("production", "staging", "development")


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("revisions", schema=_SCHEMA)))
    _create_environments()
    _create_flags()
    _create_definitions()
    _create_outbox()
    _create_idempotency_keys()
    _add_default_environments()


def downgrade() -> None:
    for table in ("definitions", "idempotency_keys", "outbox", "flags", "environments"):
        op.drop_table(table, schema=_SCHEMA)
    op.execute(sa.schema.DropSequence(sa.Sequence("revisions", schema=_SCHEMA)))


def _moment(name: str) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _create_environments() -> None:
    op.create_table(
        "environments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("frame", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        _moment("created_at"),
        _moment("updated_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environments")),
        sa.UniqueConstraint("key", name=op.f("uq_environments_key")),
        schema=_SCHEMA,
    )


def _create_flags() -> None:
    op.create_table(
        "flags",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("variants", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        _moment("created_at"),
        _moment("updated_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flags")),
        sa.UniqueConstraint("key", name=op.f("uq_flags_key")),
        schema=_SCHEMA,
    )


def _create_definitions() -> None:
    op.create_table(
        "definitions",
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("flag_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        _moment("updated_at"),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["flags.environments.id"],
            name=op.f("fk_definitions_environment_id_environments"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["flag_id"], ["flags.flags.id"], name=op.f("fk_definitions_flag_id_flags")),
        sa.PrimaryKeyConstraint("environment_id", "flag_id", name=op.f("pk_definitions")),
        schema=_SCHEMA,
    )
    op.create_index(op.f("ix_definitions_flag_id"), "definitions", ["flag_id"], schema=_SCHEMA)


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("transaction_id", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column(
            "time", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("transaction_id", "sequence", name=op.f("pk_outbox")),
        schema=_SCHEMA,
    )


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("pk_idempotency_keys")),
        schema=_SCHEMA,
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"], schema=_SCHEMA)


def _add_default_environments() -> None:
    statement = sa.text(
        "INSERT INTO flags.environments (id, key, name, description, frame, revision, version) "
        "SELECT :id, :key, :name, '', '{\"flags\":{}}', number, number FROM nextval('flags.revisions') AS number"
    ).bindparams(sa.bindparam("id", type_=sa.Uuid()))
    for key in _DEFAULT_ENVIRONMENTS:
        op.execute(statement.bindparams(id=new_uuid7(), key=key, name=key.capitalize()))
