"""Rows of definitions: what flags mean in one environment. Those of archived flags are kept and never shown."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, delete, func, select, true
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.flags.models import Definition, Environment, Flag
from undercroft.flags.schemas.names import FlagState, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A definition at its place in an environment's document."""

    flag_id: UUID
    position: int
    content: JsonObject
    revision: int
    updated_at: datetime
    source: JsonObject | None = None
    requires: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()

    @property
    def written(self) -> JsonObject:
        """The definition as somebody wrote it: by rules, or in flagd's language."""
        return self.content if self.source is None else self.source

    @property
    def state(self) -> FlagState:
        """Whether it is on."""
        return cast("FlagState", self.content["state"])  # as validated


class DefinitionRepository:
    """Reads and writes the definitions of environments that the caller has locked."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, environment_id: UUID, flag_id: UUID) -> Placed | None:
        """Return a flag's definition in an environment."""
        statement = select(Definition).where(
            Definition.environment_id == environment_id, Definition.flag_id == flag_id
        )
        row = await self._session.scalar(statement)
        return None if row is None else _placed(row)

    async def list(self, environment_id: UUID) -> Mapping[str, Placed]:
        """Return every definition of an environment by key, in the order of its document."""
        statement = (
            select(Flag.key, Definition)
            .join(Flag, Flag.id == Definition.flag_id)
            .where(Definition.environment_id == environment_id, Flag.archived_at.is_(None))
            .order_by(Definition.position, Flag.id)
        )
        return {key: _placed(row) for key, row in await self._session.execute(statement)}

    async def among(self, environment_id: UUID, keys: Collection[str]) -> Mapping[str, Placed]:
        """Return the definitions that an environment has of these flags, archived or not."""
        return await self._by_key(environment_id, Flag.key.in_(keys))

    async def dependent(self, environment_id: UUID) -> Mapping[str, Placed]:
        """Return the definitions of flags in use that have prerequisites."""
        has_any = func.cardinality(Definition.requires) > 0
        return await self._by_key(environment_id, and_(has_any, Flag.archived_at.is_(None)))

    async def referring(self, environment_id: UUID, segments: Collection[str]) -> Mapping[str, Placed]:
        """Return the definitions that refer to one of these segments, those of archived flags too."""
        wanted = sql_cast(list(segments), ARRAY(Text))
        return await self._by_key(environment_id, Definition.segments.overlap(wanted))

    async def _by_key(self, environment_id: UUID, condition: ColumnElement[bool]) -> Mapping[str, Placed]:
        statement = (
            select(Flag.key, Definition)
            .join(Flag, Flag.id == Definition.flag_id)
            .where(Definition.environment_id == environment_id, condition)
            .order_by(Flag.key)
        )
        rows = await self._session.execute(statement, execution_options={"populate_existing": True})
        return {key: _placed(row) for key, row in rows}

    async def dependents_of(self, key: str) -> Sequence[tuple[str, str]]:
        """Return the environments and the flags in use there that require a flag."""
        return await self._users(Definition.requires.contains([key]))

    async def users_of(self, segment: str) -> Sequence[tuple[str, str]]:
        """Return the environments and the flags there, archived ones too, that refer to a segment."""
        return await self._users(Definition.segments.contains([segment]), is_with_archived=True)

    async def _users(
        self, condition: ColumnElement[bool], *, is_with_archived: bool = False
    ) -> Sequence[tuple[str, str]]:
        statement = (
            select(Environment.key, Flag.key)
            .join(Definition, Definition.environment_id == Environment.id)
            .join(Flag, Flag.id == Definition.flag_id)
            .where(condition, true() if is_with_archived else Flag.archived_at.is_(None))
            .order_by(Flag.key, Environment.id)
        )
        return [(environment, key) for environment, key in await self._session.execute(statement)]

    async def next_position(self, environment_id: UUID) -> int:
        """Return the place after every definition of an environment."""
        statement = select(func.max(Definition.position)).where(Definition.environment_id == environment_id)
        last = await self._session.scalar(statement)
        return 0 if last is None else last + 1

    async def save(self, environment_id: UUID, definitions: Sequence[Placed]) -> None:
        """Insert definitions, or put them in the place of those the environment has."""
        if not definitions:
            return
        statement = insert(Definition)
        replacing = statement.on_conflict_do_update(
            index_elements=["environment_id", "flag_id"],
            set_={
                "position": statement.excluded.position,
                "content": statement.excluded.content,
                "source": statement.excluded.source,
                "state": statement.excluded.state,
                "requires": statement.excluded.requires,
                "segments": statement.excluded.segments,
                "revision": statement.excluded.revision,
                "updated_at": statement.excluded.updated_at,
            },
        )
        rows = [
            {
                "environment_id": environment_id,
                "flag_id": each.flag_id,
                "position": each.position,
                "content": each.content,
                "source": each.source,
                "state": each.state,
                "requires": list(each.requires),
                "segments": list(each.segments),
                "revision": each.revision,
                "updated_at": each.updated_at,
            }
            for each in definitions
        ]
        await self._session.execute(replacing, rows)

    async def remove(self, environment_id: UUID, flag_ids: Collection[UUID]) -> None:
        """Delete the definitions of these flags in an environment."""
        await self._session.execute(
            delete(Definition).where(
                Definition.environment_id == environment_id, Definition.flag_id.in_(flag_ids)
            )
        )

    async def environments_of(self, flag_id: UUID) -> Collection[UUID]:
        """Return the environments that define a flag."""
        statement = select(Definition.environment_id).where(Definition.flag_id == flag_id)
        return set((await self._session.scalars(statement)).all())

    async def defined_among(self, flag_ids: Collection[UUID]) -> Collection[UUID]:
        """Return those of these flags that any environment defines."""
        statement = select(Definition.flag_id).where(Definition.flag_id.in_(flag_ids)).distinct()
        return set((await self._session.scalars(statement)).all())


def _placed(row: Definition) -> Placed:
    return Placed(
        flag_id=row.flag_id,
        position=row.position,
        content=row.content,
        source=row.source,
        requires=tuple(row.requires),
        segments=tuple(row.segments),
        revision=row.revision,
        updated_at=row.updated_at,
    )
