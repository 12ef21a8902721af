"""Rows of definitions: what flags mean in one environment. Those of archived flags are kept and never shown."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.flags.models import Definition, Flag
from undercroft.flags.schemas import FlagState, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A definition at its place in an environment's document."""

    flag_id: UUID
    position: int
    content: JsonObject
    revision: int
    updated_at: datetime

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
                "state": statement.excluded.state,
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
                "state": each.state,
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
        revision=row.revision,
        updated_at=row.updated_at,
    )
