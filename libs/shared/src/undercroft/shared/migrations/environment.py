"""What runs inside Alembic: the body of every `migrations/env.py`, and the steps of a data migration."""

from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import Connection, Executable, MetaData

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext

CONNECTION_ATTRIBUTE: Final = "connection"

_ENDLESS_BACKFILL: Final = 1_000_000


def run_env(metadata: MetaData) -> None:
    """Be a service's `migrations/env.py`: one schema, its own version table, a transaction for each migration."""
    from alembic import context

    schema = metadata.schema
    connection: Connection | None = context.config.attributes.get(CONNECTION_ATTRIBUTE)
    if connection is None:
        raise RuntimeError("run migrations through `undercroft db` or the service's own `migrate` command")

    def is_own(name: str | None, kind: str, _parents: object) -> bool:
        return name == schema if kind == "schema" else True

    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_schemas=True,
        include_name=is_own,
        version_table_schema=schema,
        transaction_per_migration=True,
        compare_type=True,
        render_item=_render_item,
    )
    with context.begin_transaction():
        context.run_migrations()


def _render_item(kind: str, item: object, context: "AutogenContext") -> str | Literal[False]:
    """Write column types of our own into a new version file, with their import."""
    module = type(item).__module__
    if kind != "type" or not module.startswith("undercroft."):
        return False
    context.imports.add(f"from {module} import {type(item).__name__}")
    return repr(item)


def backfill(statement: Executable) -> int:
    """Repeat a data migration's bounded statement until it changes no row; returns how many it changed.

    Each batch commits by itself: locks are short, and a migration that was killed continues where it stopped,
    because the statement selects only what is still to do (`... WHERE new IS NULL LIMIT 1000`). What runs before
    it in the same migration is committed first, so a data migration is a version file of its own.
    """
    from alembic import op

    changed = 0
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        for _ in range(_ENDLESS_BACKFILL):
            rows = connection.execute(statement).rowcount
            if rows <= 0:
                return changed
            changed += rows
    raise RuntimeError("the backfill does not end: its statement must select only rows that are still to do")


def require_values(table: str, column: str, *, schema: str) -> None:
    """Make a column NOT NULL without holding anybody up while its rows are read (PostgreSQL 18).

    From the first statement on no empty value comes in; the second looks at those that are there, and fails when a
    backfill left one out. Both commit by themselves, and a second run repeats them without harm.
    """
    from alembic import op

    name = f"{table}_{column}_not_null"
    with op.get_context().autocommit_block():
        op.execute(f"ALTER TABLE {schema}.{table} ADD CONSTRAINT {name} NOT NULL {column} NOT VALID")
        op.execute(f"ALTER TABLE {schema}.{table} VALIDATE CONSTRAINT {name}")
