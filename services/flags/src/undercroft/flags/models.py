"""Tables of the flags service. Definitions are stored as the text they came as, never as jsonb."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Dialect, ForeignKey, Index, Sequence, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, query_expression
from sqlalchemy.types import TypeDecorator
from typing_extensions import override

from undercroft.flags.schemas.names import FlagState, JsonObject
from undercroft.shared.db import metadata_for
from undercroft.shared.events.outbox import outbox_table
from undercroft.shared.idempotency import idempotency_table
from undercroft.shared.ids import new_uuid7
from undercroft.shared.serialization import dumps, loads

metadata = metadata_for("flags")
outbox = outbox_table(metadata)
idempotency_keys = idempotency_table(metadata)

# One sequence for every revision: an ETag never returns, not even after a delete and a new beginning.
revisions = Sequence("revisions", metadata=metadata)


class LosslessJson(TypeDecorator[JsonObject]):
    """A JSON object as text.

    jsonb sorts members, writes 1e16 as an integer and refuses an escaped NUL (tried on PostgreSQL 18). json keeps all that,
    but the driver parses it with Python's own parser. What was imported must be exported unchanged.
    """

    impl = Text
    cache_ok = True

    @override
    def process_bind_param(self, value: JsonObject | None, dialect: Dialect) -> str | None:
        return None if value is None else dumps(value).decode()

    @override
    def process_result_value(self, value: Any | None, dialect: Dialect) -> JsonObject | None:
        if value is None:
            return None
        content = loads(value)
        assert isinstance(content, dict)  # noqa: S101  only objects are written
        return content


class Base(DeclarativeBase):
    """Base of the service's tables."""

    metadata = metadata


class Environment(Base):
    """Where flags are evaluated. `revision` is of its attributes, `version` of everything evaluated in it."""

    __tablename__ = "environments"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_uuid7)
    key: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    # The flagd document with its flags taken out: $evaluators, metadata and $schema, in their order.
    frame: Mapped[JsonObject] = mapped_column(LosslessJson)
    revision: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Flag(Base):
    """What a flag is everywhere; `variants` are those of a definition that names none.

    `states` tells by environment whether it is on there. It is loaded only by those queries that ask for it.
    """

    __tablename__ = "flags"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_uuid7)
    key: Mapped[str] = mapped_column(Text, unique=True)
    type: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    owner: Mapped[str | None] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    variants: Mapped[JsonObject] = mapped_column(LosslessJson)
    states: Mapped[dict[str, FlagState]] = query_expression()
    revision: Mapped[int] = mapped_column(BigInteger)
    archived_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Definition(Base):
    """What a flag means in one environment; `position` is its place in the environment's document.

    `state` stands in the content too, where no list could find it.
    """

    __tablename__ = "definitions"

    environment_id: Mapped[UUID] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), primary_key=True
    )
    flag_id: Mapped[UUID] = mapped_column(ForeignKey("flags.id"), primary_key=True, index=True)
    position: Mapped[int] = mapped_column(BigInteger)
    # What is evaluated; `source` is what it was compiled from, when it was written by rules.
    content: Mapped[JsonObject] = mapped_column(LosslessJson)
    source: Mapped[JsonObject | None] = mapped_column(LosslessJson)
    requires: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    segments: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    state: Mapped[str] = mapped_column(Text)
    revision: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Segment(Base):
    """Conditions under a name, the same in every environment."""

    __tablename__ = "segments"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_uuid7)
    key: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    # An object with one member, so that the numbers in it keep their form.
    definition: Mapped[JsonObject] = mapped_column(LosslessJson)
    revision: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Change(Base):
    """What was changed, by whom; of a flag, of its definition in an environment, or of a segment.

    Environments and segments by key, because the history outlives them.
    """

    __tablename__ = "changes"
    __table_args__ = (
        Index("ix_changes_flag_id_revision", "flag_id", "revision"),
        Index("ix_changes_segment_revision", "segment", "revision"),
    )

    revision: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, autoincrement=False, server_default=revisions.next_value()
    )
    flag_id: Mapped[UUID | None] = mapped_column(ForeignKey("flags.id"))
    environment: Mapped[str | None] = mapped_column(Text)
    segment: Mapped[str | None] = mapped_column(Text)
    origin: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
    before: Mapped[JsonObject | None] = mapped_column(LosslessJson)
    after: Mapped[JsonObject | None] = mapped_column(LosslessJson)
    schedule_id: Mapped[UUID | None] = mapped_column()


class Schedule(Base):
    """Changes of a definition that wait for their time; `next_at` is that of step number `next_step`."""

    __tablename__ = "schedules"
    __table_args__ = (
        Index("ix_schedules_next_at", "next_at", postgresql_where=text("status = 'open'")),
        Index("ix_schedules_flag_id_environment_id_id", "flag_id", "environment_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_uuid7)
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environments.id", ondelete="CASCADE"))
    flag_id: Mapped[UUID] = mapped_column(ForeignKey("flags.id"))
    author: Mapped[str] = mapped_column(Text)
    plan: Mapped[JsonObject] = mapped_column(LosslessJson)
    status: Mapped[str] = mapped_column(Text)
    next_step: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    failure: Mapped[JsonObject | None] = mapped_column(LosslessJson)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class EvaluationCount(Base):
    """How often a flag gave a variant in an hour. No foreign keys: counting must never wait for whoever writes."""

    __tablename__ = "evaluation_counts"

    flag_id: Mapped[UUID] = mapped_column(primary_key=True)
    hour: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True, index=True)
    environment_id: Mapped[UUID] = mapped_column(primary_key=True)
    # "" for an answer without a variant.
    variant: Mapped[str] = mapped_column(Text, primary_key=True)
    reason: Mapped[str] = mapped_column(Text, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class LastEvaluation(Base):
    """When a flag was evaluated last in an environment, to the minute. Outlives the counts."""

    __tablename__ = "last_evaluations"

    flag_id: Mapped[UUID] = mapped_column(primary_key=True)
    environment_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
