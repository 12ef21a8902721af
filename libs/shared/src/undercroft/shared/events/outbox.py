"""The outbox of a service: events written in the transaction of the change, read in an order that skips nothing.

A sequence number alone would skip: a transaction that took number 7 may commit after number 8 was read. Events are
therefore ordered by (transaction id, sequence) and read only below the oldest transaction still running.
"""

import base64
import binascii
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    MetaData,
    Table,
    Text,
    Uuid,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import UserDefinedType
from typing_extensions import override

from undercroft.shared.events.event import CloudEvent, CursorGoneError, CursorInvalidError, Event
from undercroft.shared.ids import TypeId, new_uuid7

RETENTION: Final = timedelta(days=35)
_PRUNE_BATCH: Final = 1_000
_MAX_BIGINT: Final = 2**63 - 1


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id, which never wraps around."""

    cache_ok = True

    @override
    def get_col_spec(self, **_: Any) -> str:  # SQLAlchemy's signature
        """Name the type in DDL."""
        return "xid8"


# Without an entry, reflection (and so `alembic check`) warns that it does not know the type.
ischema_names["xid8"] = Xid8


class Cursor(NamedTuple):
    """A place in a feed, before every event that sorts after it.

    Not signed: only other services see it, they store it for weeks, and a changed secret key must not lose it.
    """

    transaction_id: int
    sequence: int

    def encode(self) -> str:
        """Render it opaquely."""
        return (
            base64.urlsafe_b64encode(f"{self.transaction_id}.{self.sequence}".encode()).rstrip(b"=").decode()
        )

    @classmethod
    def decode(cls, value: str) -> Self:
        """Parse what `encode` made; raises `CursorInvalidError`."""
        try:
            content = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).decode("ascii")
            cursor = cls(*(int(part) for part in content.split(".")))
        except (binascii.Error, ValueError, TypeError) as error:
            raise CursorInvalidError("`after` is not a cursor of this feed.") from error
        if not (0 <= cursor.transaction_id <= _MAX_BIGINT and 0 <= cursor.sequence <= _MAX_BIGINT):
            raise CursorInvalidError("`after` is not a cursor of this feed.")
        return cursor


START: Final = Cursor(0, 0)


class Batch(NamedTuple):
    """Events in order, the cursor after them, and whether newer ones wait for an older transaction to end."""

    events: list[CloudEvent]
    cursor: Cursor
    is_pending: bool


def outbox_table(metadata: MetaData) -> Table:
    """Declare the outbox in a service's schema; its primary key is the order of the feed."""
    return Table(
        "outbox",
        metadata,
        Column("transaction_id", Xid8, primary_key=True, server_default=text("pg_current_xact_id()")),
        Column("sequence", BigInteger, Identity(always=True), primary_key=True),
        Column("id", Uuid, nullable=False),
        Column("type", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("organization_id", Uuid),
        Column("actor", Text),
        Column("time", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
        Column("data", JSONB, nullable=False),
    )


def channel_of(table: Table) -> str:
    """Return the NOTIFY channel of an outbox."""
    return f"{table.schema}_outbox"


async def publish(session: AsyncSession, table: Table, *events: Event) -> None:
    """Write events in the caller's transaction; whoever follows the feed is woken when it commits."""
    if not events:
        return
    rows = [
        {
            "id": new_uuid7(),
            "type": event.type,
            "subject": event.subject,
            "organization_id": event.organization_id,
            "actor": event.actor,
            "data": dict(event.data),
        }
        for event in events
    ]
    # Two statements for any number of events: thousands come from one import.
    await session.execute(insert(table), rows)
    await session.execute(select(func.pg_notify(channel_of(table), "")))


async def tail_cursor(session: AsyncSession) -> Cursor:
    """Return the cursor after everything that is settled now.

    An owner serves it with its internal list, read first: what is missing from the list comes after the cursor.
    """
    return Cursor((await session.execute(select(_horizon()))).scalar_one(), 0)


async def check_cursor(session: AsyncSession, table: Table, cursor: Cursor) -> None:
    """Raise `CursorGoneError` when events after the cursor may have been pruned, or it is of another database."""
    oldest = select(table).order_by(*_order(table)).limit(1).subquery()
    is_expired = oldest.c.time < func.now() - RETENTION
    nothing = select(literal(1).label("one")).subquery()
    columns = (_horizon(), oldest.c.transaction_id, oldest.c.sequence, is_expired)
    row = (await session.execute(select(*columns).select_from(nothing.outerjoin(oldest, true())))).one()
    horizon, transaction_id, sequence, is_pruned_before = row
    if cursor.transaction_id > horizon:  # a restored database counts its transactions anew
        raise CursorGoneError("This cursor is of another database; read the list and start again.")
    # Pruning leaves the newest expired event as a mark: only behind it can something be missing.
    if is_pruned_before and cursor < (transaction_id, sequence):
        raise CursorGoneError("Events after this cursor are no longer kept; read the list and start again.")


async def read_batch(session: AsyncSession, table: Table, *, after: Cursor, limit: int) -> Batch:
    """Return up to `limit` events after the cursor that no running transaction can still precede."""
    # One statement, hence one snapshot: the horizon and the rows are of the same moment.
    statement = (
        select(table, (table.c.transaction_id < _horizon()).label("is_settled"))
        .where(tuple_(*_order(table)) > tuple_(literal(after.transaction_id, Xid8), after.sequence))
        .order_by(*_order(table))
        .limit(limit)
    )
    rows = (await session.execute(statement)).all()
    settled = list(takewhile(lambda row: row.is_settled, rows))
    cursor = Cursor(settled[-1].transaction_id, settled[-1].sequence) if settled else after
    return Batch([_cloud_event(row, table) for row in settled], cursor, is_pending=len(settled) < len(rows))


async def prune_outbox(session: AsyncSession, table: Table, *, now: datetime) -> int:
    """Delete a bounded batch of events older than 35 days, all but the newest of them; returns how many went."""
    oldest = await session.execute(
        select(*_order(table), (table.c.time < now - RETENTION).label("is_expired"))
        .order_by(*_order(table))
        .limit(_PRUNE_BATCH)
    )
    expired = list(takewhile(lambda row: row.is_expired, oldest))
    if len(expired) < 2:  # noqa: PLR2004  the mark stays
        return 0
    mark = expired[-1]
    before_mark = tuple_(*_order(table)) < tuple_(literal(mark.transaction_id, Xid8), mark.sequence)
    await session.execute(delete(table).where(before_mark))
    return len(expired) - 1


def _horizon() -> ColumnElement[int]:
    return func.pg_snapshot_xmin(func.pg_current_snapshot(), type_=Xid8)


def _order(table: Table) -> tuple[Column[Any], Column[Any]]:  # columns are untyped in SQLAlchemy Core
    return table.c.transaction_id, table.c.sequence


def _cloud_event(row: Any, table: Table) -> CloudEvent:  # rows are untyped in SQLAlchemy Core
    return CloudEvent(
        id=str(TypeId("evt", row.id)),
        source=f"/{table.schema}",
        type=row.type,
        subject=row.subject,
        time=row.time,
        organization_id=str(TypeId("org", row.organization_id)) if row.organization_id else None,
        actor=row.actor,
        data=row.data,
    )
