"""Reads what environments evaluate, whole and of one moment."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Text, and_, func, select, type_coerce
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.flags.models import Definition, Environment, Flag
from undercroft.flags.schemas.names import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFlags:
    """An environment's frame and the texts of its definitions, by key, as of one version."""

    environment_id: UUID
    key: str
    version: int
    frame: JsonObject
    definitions: Mapping[str, str]


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
        contents = func.array_agg(aggregate_order_by(type_coerce(Definition.content, Text), *in_order)).label(
            "contents"
        )
        statement = (
            select(Environment.id, Environment.key, Environment.version, Environment.frame, keys, contents)
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
                frame=row.frame,
                definitions=_by_key(row.keys_, row.contents),
            )
            for row in await self._session.execute(statement)
        ]


def _by_key(keys: Sequence[str | None], contents: Sequence[str]) -> Mapping[str, str]:
    """Pair the aggregates; an environment without definitions, and an archived flag, aggregate to a null key."""
    return {key: content for key, content in zip(keys, contents, strict=True) if key is not None}
