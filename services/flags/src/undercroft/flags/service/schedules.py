"""Use cases of schedules: planning changes, and making them when their time has come, each exactly once."""

from datetime import UTC, datetime
from typing import NamedTuple, cast
from uuid import UUID

from undercroft.flags.domain.scheduled import IncompatibleError, merge, ramp_step
from undercroft.flags.errors import (
    DefinitionNotFoundError,
    FlagArchivedError,
    ScheduleFinishedError,
    ScheduleIncompatibleError,
    ScheduleLimitError,
)
from undercroft.flags.models import Environment, Flag, Schedule
from undercroft.flags.repository.changes import Author
from undercroft.flags.repository.schedules import OPEN
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.schemas.schedules import ScheduleCreate, ScheduleStatus
from undercroft.flags.service.work import Repositories
from undercroft.flags.service.writing import DefinitionWriter, Wanted
from undercroft.shared.errors import ServiceError, UnavailableError, UnprocessableError
from undercroft.shared.logs import get_logger
from undercroft.shared.pagination import Page, PageParams

MAX_OPEN_SCHEDULES = 20

_logger = get_logger(__name__)


class Place(NamedTuple):
    """A flag in an environment, by their keys."""

    flag: str
    environment: str


class ScheduleService:
    """Plans and cancels schedules in the name of an author."""

    def __init__(self, repositories: Repositories, *, author: Author) -> None:
        self._repositories = repositories
        self._author = author

    async def create(self, place: Place, new: ScheduleCreate) -> Schedule:
        """Plan changes; the first one must be possible now.

        Raises `DefinitionInvalidError`, `ScheduleIncompatibleError`, `ScheduleLimitError`, `FlagArchivedError`.
        """
        environment = await self._repositories.environments.get_locked(place.environment)
        flag = await self._repositories.flags.get_locked(place.flag, is_shared=True)
        ids = {"flag_id": flag.id, "environment_id": environment.id}
        if await self._repositories.schedules.count_open(**ids) >= MAX_OPEN_SCHEDULES:
            raise ScheduleLimitError(f"There are {MAX_OPEN_SCHEDULES} open schedules already.")
        plan = cast("JsonObject", new.model_dump(mode="json", exclude_none=True, exclude={"change"}))
        if new.change is not None:
            plan["change"] = new.change
        async with self._repositories.schedules.rehearse():
            await apply_step(self._repositories, self._author, place, plan, 0)
        return await self._repositories.schedules.add(
            **ids, author=self._author.actor, plan=plan, next_at=cast("datetime", _time_of(plan, 0))
        )

    async def list(self, place: Place, page: PageParams, *, status: ScheduleStatus | None) -> Page[Schedule]:
        """Return a page of a flag's schedules in an environment, the newest first."""
        environment, flag = await self._found(place)
        return await self._repositories.schedules.list(
            page, flag_id=flag.id, environment_id=environment.id, status=status
        )

    async def get(self, place: Place, schedule_id: UUID) -> Schedule:
        """Return a schedule; raises `ScheduleNotFoundError`."""
        environment, flag = await self._found(place)
        return await self._repositories.schedules.get(
            schedule_id, flag_id=flag.id, environment_id=environment.id
        )

    async def cancel(self, place: Place, schedule_id: UUID) -> None:
        """Leave out every step to come; raises `ScheduleFinishedError` when there is none."""
        environment, flag = await self._found(place)
        schedule = await self._repositories.schedules.get_locked(
            schedule_id, flag_id=flag.id, environment_id=environment.id
        )
        if schedule.status != OPEN:
            raise ScheduleFinishedError(f"The schedule is {schedule.status}.")
        _finish(schedule, "cancelled")
        await self._repositories.schedules.flush()

    async def _found(self, place: Place) -> tuple[Environment, Flag]:
        flag = await self._repositories.flags.get(place.flag)
        return await self._repositories.environments.get(place.environment), flag


class ScheduleRunner:
    """Makes the changes that are due. One call is one step in one transaction: made and noted together, or neither."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    async def run_next(self) -> bool:
        """Make the step that is due first; tell whether there was one. Raises `UnavailableError` to try again later."""
        claimed = await self._repositories.schedules.claim()
        if claimed is None:
            return False
        schedule, environment, flag = claimed
        schedule_id, plan, step = schedule.id, schedule.plan, schedule.next_step
        author = Author(actor=schedule.author, origin="schedule", schedule_id=schedule_id)
        failure: JsonObject | None = None
        try:
            async with self._repositories.schedules.attempt():
                await apply_step(self._repositories, author, Place(flag, environment), plan, step)
        except UnavailableError:
            raise
        except ServiceError as error:
            failure = _failure_of(error)
        # Its supervisor would start with the same one again and never reach the others.
        except Exception as error:
            _logger.exception("schedule_crashed", schedule=str(schedule_id), error=type(error).__name__)
            failure = {"code": "internal_error", "detail": "Something went wrong on our side."}
        await self._repositories.schedules.reload(schedule)
        if failure is not None:
            schedule.failure = failure
            _finish(schedule, "failed")
        else:
            schedule.next_step = step + 1
            schedule.next_at = _time_of(plan, step + 1)
            if schedule.next_at is None:
                _finish(schedule, "done")
        await self._repositories.schedules.flush()
        return True


async def apply_step(
    repositories: Repositories, author: Author, place: Place, plan: JsonObject, step: int
) -> None:
    """Make one step of a plan: the definition is written as anybody would write it."""
    environment = await repositories.environments.get_locked(place.environment)
    flag = await repositories.flags.get_locked(place.flag, is_shared=True)
    if flag.archived_at is not None:
        raise FlagArchivedError(f"{place.flag} is archived.")
    placed = await repositories.definitions.find(environment.id, flag.id)
    ramp = plan.get("ramp")
    if isinstance(ramp, dict):
        if placed is None:
            raise DefinitionNotFoundError(f"{place.flag} is not defined in {place.environment}.")
        try:
            source = ramp_step(placed.written, ramp, step)
        except IncompatibleError as error:
            raise ScheduleIncompatibleError(f"{place.flag} in {place.environment}: {error}.") from error
    else:
        source = cast("dict[str, object]", merge({} if placed is None else placed.written, plan["change"]))
    wanted = cast("JsonObject", {"variants": flag.variants, **source})
    await DefinitionWriter(repositories, author).write(environment, [Wanted(flag, wanted)])


def _time_of(plan: JsonObject, step: int) -> datetime | None:
    """Return when a step is due, None after the last one."""
    ramp = plan.get("ramp")
    steps = cast("list[JsonObject]", ramp["steps"]) if isinstance(ramp, dict) else [plan]  # as validated
    return datetime.fromisoformat(str(steps[step]["at"])) if step < len(steps) else None


def _finish(schedule: Schedule, status: ScheduleStatus) -> None:
    schedule.status = status
    schedule.next_at = None
    schedule.finished_at = datetime.now(UTC)


def _failure_of(error: ServiceError) -> JsonObject:
    failure: JsonObject = {"code": error.code, "detail": error.detail}
    if isinstance(error, UnprocessableError):
        failure["errors"] = [
            {"pointer": each.pointer, "detail": each.detail, "code": each.code} for each in error.problems
        ]
    return failure
