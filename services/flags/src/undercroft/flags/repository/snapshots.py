"""Reads what environments evaluate, whole or what has changed of it, and each time of one moment."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import UserDefinedType
from typing_extensions import override

from undercroft.flags.models import Definition, Environment, Flag
from undercroft.flags.schemas.names import JsonObject

# Rows tell their age in transactions as a signed 32-bit number; half of its range is far enough from its end.
_OLDEST: Final = 2**30


class _TransactionId(UserDefinedType[str]):
    """PostgreSQL's type of the numbers in xmin."""

    cache_ok = True

    @override
    def get_col_spec(self, **_options: object) -> str:
        return "xid"


class Horizon(NamedTuple):
    """Where a reading ended: the oldest transaction that was running then, and a digest of the environment's frame.

    Rows written by an older transaction were seen. This is PostgreSQL's own account (the xmin of a row), so that nobody
    who writes has to keep one.
    """

    transaction: int
    frame: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFlags:
    """An environment's frame and the texts of its definitions, by key, as of one version."""

    environment_id: UUID
    key: str
    version: int
    horizon: Horizon
    frame: JsonObject
    definitions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChanges:
    """What was written in an environment since a horizon, and how many flags it has now."""

    key: str
    version: int
    horizon: Horizon
    definitions: Mapping[str, str]
    archived: Collection[str]
    number: int


class SnapshotRepository:
    """Reads environments for evaluation."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def versions(self) -> Mapping[UUID, int]:
        """Return the version of every environment."""
        rows = await self._session.execute(select(Environment.id, Environment.version))
        return {row.id: row.version for row in rows}

    async def load(self, environment_ids: Collection[UUID]) -> Sequence[StoredFlags]:
        """Return the flags of environments; of those that exist no more, nothing.

        One statement, hence one database snapshot: the version and the definitions belong together.
        """
        in_order = Definition.position, Flag.id
        keys = func.array_agg(aggregate_order_by(Flag.key, *in_order)).label("keys_")
        contents = func.array_agg(aggregate_order_by(_text_of(Definition.content), *in_order)).label(
            "contents"
        )
        statement = (
            select(*_ENVIRONMENT, Environment.frame, keys, contents)
            .outerjoin(Definition, Definition.environment_id == Environment.id)
            .outerjoin(Flag, and_(Flag.id == Definition.flag_id, Flag.archived_at.is_(None)))
            .where(Environment.id.in_(environment_ids))
            .group_by(Environment.id)
        )
        return [
            StoredFlags(
                environment_id=row.id,
                key=row.key,
                version=row.version,
                horizon=Horizon(row.transaction, row.frame_digest),
                frame=row.frame,
                definitions=_by_key(row.keys_, row.contents),
            )
            for row in await self._session.execute(statement)
        ]

    async def changes(self, environment_id: UUID, since: Horizon) -> StoredChanges | None:
        """Return what was written since a horizon, perhaps with some that was seen already.

        None when the environment is gone, when what its flags have in common is another, and when the horizon is too
        long ago. Deleted definitions only show in the number.
        """
        is_live = Flag.archived_at.is_(None)
        is_new = or_(_is_written_since(since, "definitions"), _is_written_since(since, "flags"))
        is_wanted = and_(is_new, is_live)
        statement = (
            select(
                *_ENVIRONMENT,
                func.count().filter(is_live).label("number"),
                func.array_agg(Flag.key).filter(is_wanted).label("keys_"),
                func.array_agg(_text_of(Definition.content)).filter(is_wanted).label("contents"),
                func.array_agg(Flag.key)
                .filter(and_(is_new, Flag.archived_at.is_not(None)))
                .label("archived"),
            )
            .outerjoin(Definition, Definition.environment_id == Environment.id)
            .outerjoin(Flag, Flag.id == Definition.flag_id)
            .where(Environment.id == environment_id)
            .group_by(Environment.id)
        )
        row = (await self._session.execute(statement)).one_or_none()
        if row is None or row.frame_digest != since.frame or row.transaction - since.transaction > _OLDEST:
            return None
        return StoredChanges(
            key=row.key,
            version=row.version,
            horizon=Horizon(row.transaction, row.frame_digest),
            definitions=_by_key(row.keys_ or (), row.contents or ()),
            archived=row.archived or (),
            number=row.number,
        )


# Of the statement that they stand in, as everything else in it is.
_ENVIRONMENT: Final[tuple[Any, ...]] = (  # columns of as many types
    Environment.id,
    Environment.key,
    Environment.version,
    func.md5(type_coerce(Environment.frame, Text)).label("frame_digest"),
    literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint").label("transaction"),
)


def _is_written_since(horizon: Horizon, table: str) -> ColumnElement[bool]:
    """Tell whether a row's version was written by a transaction that the horizon has not surely seen the end of."""
    # A row only knows the lower half of its transaction's number; ages compare across its overflow.
    short = cast(literal(str(horizon.transaction % 2**32)), _TransactionId)
    written: ColumnElement[object] = literal_column(f"flags.{table}.xmin")
    return func.age(written) <= func.age(short)


def _text_of(column: object) -> ColumnElement[str]:
    return type_coerce(column, Text)


def _by_key(keys: Sequence[str | None], contents: Sequence[str]) -> Mapping[str, str]:
    """Pair the aggregates; an environment without definitions, and an archived flag, aggregate to a null key."""
    return {key: content for key, content in zip(keys, contents, strict=True) if key is not None}
