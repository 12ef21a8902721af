"""Rows of schedules. Whoever runs or cancels one locks it first, before the environment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.flags.errors import ScheduleNotFoundError
from undercroft.flags.models import Environment, Flag, Schedule
from undercroft.flags.schemas.names import JsonObject
from undercroft.shared.pagination import Page, PageParams

OPEN = "open"


class ScheduleRepository:
    """Reads and writes schedules in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, schedule_id: UUID, *, flag_id: UUID, environment_id: UUID) -> Schedule:
        """Return a schedule of a flag in an environment; raises `ScheduleNotFoundError`."""
        return await self._get(schedule_id, flag_id, environment_id, is_locked=False)

    async def get_locked(self, schedule_id: UUID, *, flag_id: UUID, environment_id: UUID) -> Schedule:
        """Return a schedule that nobody else runs or cancels until this transaction ends."""
        return await self._get(schedule_id, flag_id, environment_id, is_locked=True)

    async def list(
        self, page: PageParams, *, flag_id: UUID, environment_id: UUID, status: str | None
    ) -> Page[Schedule]:
        """Return a page of the schedules of a flag in an environment, the newest first."""
        statement = select(Schedule).where(
            Schedule.flag_id == flag_id, Schedule.environment_id == environment_id
        )
        if status is not None:
            statement = statement.where(Schedule.status == status)
        return await page.fetch(self._session, statement, Schedule.id, descending=True)

    async def count_open(self, *, flag_id: UUID, environment_id: UUID) -> int:
        """Count the schedules of a flag in an environment that still have something to do."""
        statement = (
            select(func.count())
            .select_from(Schedule)
            .where(
                Schedule.flag_id == flag_id,
                Schedule.environment_id == environment_id,
                Schedule.status == OPEN,
            )
        )
        return await self._session.scalar(statement) or 0

    async def add(
        self, *, environment_id: UUID, flag_id: UUID, author: str, plan: JsonObject, next_at: datetime
    ) -> Schedule:
        """Insert a schedule that waits for its first step."""
        schedule = Schedule(
            environment_id=environment_id,
            flag_id=flag_id,
            author=author,
            plan=plan,
            status=OPEN,
            next_step=0,
            next_at=next_at,
        )
        self._session.add(schedule)
        await self._session.flush()
        await self._session.refresh(schedule)
        return schedule

    async def claim(self) -> tuple[Schedule, str, str] | None:
        """Lock the schedule that is due first and that no other replica runs; with the keys of its environment and flag."""
        due = (
            select(Schedule)
            .where(Schedule.status == OPEN, Schedule.next_at <= func.clock_timestamp())
            .order_by(Schedule.next_at, Schedule.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        schedule = await self._session.scalar(due, execution_options={"populate_existing": True})
        if schedule is None:
            return None
        names = (
            select(Environment.key, Flag.key)
            .select_from(Schedule)
            .join(Environment, Environment.id == Schedule.environment_id)
            .join(Flag, Flag.id == Schedule.flag_id)
            .where(Schedule.id == schedule.id)
        )
        environment, flag = (await self._session.execute(names)).one()
        return schedule, environment, flag

    async def lock_of(self, environment: str) -> None:
        """Wait until no schedule of an environment is being run, and keep it so."""
        statement = (
            select(Schedule.id)
            .join(Environment, Environment.id == Schedule.environment_id)
            .where(Environment.key == environment)
            .order_by(Schedule.id)
        )
        await self._session.execute(statement.with_for_update(of=Schedule))

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Undo everything inside when it raises, and nothing before it."""
        async with self._session.begin_nested():
            yield

    @asynccontextmanager
    async def rehearse(self) -> AsyncIterator[None]:
        """Undo everything inside, whether it raises or not."""
        nested = await self._session.begin_nested()
        try:
            yield
        finally:
            await nested.rollback()

    async def flush(self) -> None:
        """Write what was changed about loaded schedules."""
        await self._session.flush()

    async def reload(self, schedule: Schedule) -> None:
        """Read a schedule again after an attempt was undone."""
        await self._session.refresh(schedule)

    async def _get(
        self, schedule_id: UUID, flag_id: UUID, environment_id: UUID, *, is_locked: bool
    ) -> Schedule:
        statement = select(Schedule).where(
            Schedule.id == schedule_id,
            Schedule.flag_id == flag_id,
            Schedule.environment_id == environment_id,
        )
        if is_locked:
            statement = statement.with_for_update()
        schedule = await self._session.scalar(statement, execution_options={"populate_existing": True})
        if schedule is None:
            raise ScheduleNotFoundError("There is no such schedule.")
        return schedule
