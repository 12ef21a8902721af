"""Rows of counted evaluations. Rows are written in one order, so that replicas never wait for each other in a ring."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.flags.models import Environment, EvaluationCount, Flag, LastEvaluation

_ROWS_AT_ONCE = 2_000
_PRUNE_BATCH = 5_000
_PRECISION = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Counted:
    """Evaluations of one flag that gave the same in one environment."""

    environment_id: UUID
    key: str
    variant: str
    reason: str
    count: int


class UsageRow(NamedTuple):
    """Evaluations in one window of time."""

    start: datetime
    environment: str
    variant: str
    reason: str
    evaluations: int


class UsageRepository:
    """Reads and adds up counts in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, counted: Sequence[Counted], at: datetime) -> None:
        """Add counts to those of the hour; those of flags that are no more are dropped."""
        ids = await self._ids({each.key for each in counted})
        hour = at.replace(minute=0, second=0, microsecond=0)
        rows = sorted(
            (ids[each.key], each.environment_id, each.variant, each.reason, each.count)
            for each in counted
            if each.key in ids
        )
        counts = [
            {
                "flag_id": flag_id,
                "environment_id": environment_id,
                "variant": variant,
                "reason": reason,
                "count": count,
                "hour": hour,
            }
            for flag_id, environment_id, variant, reason, count in rows
        ]
        statement = insert(EvaluationCount)
        adding = statement.on_conflict_do_update(
            index_elements=["flag_id", "hour", "environment_id", "variant", "reason"],
            set_={"count": EvaluationCount.count + statement.excluded.count},
        )
        for start in range(0, len(counts), _ROWS_AT_ONCE):
            await self._session.execute(adding, counts[start : start + _ROWS_AT_ONCE])
        await self._note({(flag_id, environment_id) for flag_id, environment_id, *_ in rows}, at)

    async def last_of(self, flag_ids: Collection[UUID]) -> Mapping[UUID, datetime]:
        """Return when these flags were evaluated last, anywhere."""
        statement = (
            select(LastEvaluation.flag_id, func.max(LastEvaluation.at).label("at"))
            .where(LastEvaluation.flag_id.in_(flag_ids))
            .group_by(LastEvaluation.flag_id)
        )
        return {row.flag_id: row.at for row in await self._session.execute(statement)}

    async def of_flag(
        self,
        flag_id: UUID,
        *,
        since: datetime,
        until: datetime,
        window: Literal["hour", "day"],
        environment: str | None,
    ) -> Sequence[UsageRow]:
        """Return the counts of a flag by window, environment, variant and reason."""
        start = func.date_trunc(window, EvaluationCount.hour, "UTC").label("start")
        about = EvaluationCount.variant, EvaluationCount.reason
        statement = (
            select(
                start,
                Environment.key.label("environment"),
                *about,
                func.sum(EvaluationCount.count).label("count_"),
            )
            .join(Environment, Environment.id == EvaluationCount.environment_id)
            .where(
                EvaluationCount.flag_id == flag_id,
                EvaluationCount.hour >= since,
                EvaluationCount.hour < until,
            )
            .group_by(start, Environment.key, *about)
            .order_by(start, Environment.key, *about)
        )
        if environment is not None:
            statement = statement.where(Environment.key == environment)
        return [
            UsageRow(row.start, row.environment, row.variant, row.reason, int(row.count_))
            for row in await self._session.execute(statement)
        ]

    async def prune(self, *, before: datetime) -> int:
        """Delete a bounded batch of counts of hours before a time; returns how many went."""
        key = (
            EvaluationCount.flag_id,
            EvaluationCount.hour,
            EvaluationCount.environment_id,
            EvaluationCount.variant,
            EvaluationCount.reason,
        )
        doomed = select(*key).where(EvaluationCount.hour < before).limit(_PRUNE_BATCH)
        statement = delete(EvaluationCount).where(tuple_(*key).in_(doomed)).returning(EvaluationCount.flag_id)
        return len((await self._session.execute(statement)).all())

    async def forget(self, environment_id: UUID) -> None:
        """Delete what was counted in an environment."""
        for model in (EvaluationCount, LastEvaluation):
            await self._session.execute(delete(model).where(model.environment_id == environment_id))

    async def _ids(self, keys: Collection[str]) -> Mapping[str, UUID]:
        rows = await self._session.execute(select(Flag.key, Flag.id).where(Flag.key.in_(keys)))
        return {row.key: row.id for row in rows}

    async def _note(self, evaluated: Collection[tuple[UUID, UUID]], at: datetime) -> None:
        """Note the time, unless one less than a minute before is noted: the table would be rewritten all the time."""
        statement = insert(LastEvaluation)
        noting = statement.on_conflict_do_update(
            index_elements=["flag_id", "environment_id"],
            set_={"at": statement.excluded.at},
            where=LastEvaluation.at < statement.excluded.at - _PRECISION,
        )
        rows = [
            {"flag_id": flag_id, "environment_id": environment_id, "at": at}
            for flag_id, environment_id in sorted(evaluated)
        ]
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            await self._session.execute(noting, rows[start : start + _ROWS_AT_ONCE])


def is_unused_since(moment: datetime) -> ColumnElement[bool]:
    """Tell in SQL whether a flag is older than a time and was not evaluated after it."""
    evaluated = select(LastEvaluation.flag_id).where(
        LastEvaluation.flag_id == Flag.id, LastEvaluation.at >= moment
    )
    return (Flag.created_at < moment) & ~evaluated.exists()
