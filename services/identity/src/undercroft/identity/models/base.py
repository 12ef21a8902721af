"""What every table of the service shares, and the tables that every service has."""

from sqlalchemy.orm import DeclarativeBase

from undercroft.shared.db import metadata_for
from undercroft.shared.events.outbox import outbox_table
from undercroft.shared.idempotency import idempotency_table

metadata = metadata_for("identity")
outbox = outbox_table(metadata)
idempotency_keys = idempotency_table(metadata)


class Base(DeclarativeBase):
    """Base of the service's tables."""

    metadata = metadata
