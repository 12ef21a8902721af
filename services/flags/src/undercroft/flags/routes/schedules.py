"""Schedules over HTTP: changes of a flag in an environment that wait for their time."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from undercroft.flags.dependencies import ReaderDep, ScheduleServiceDep, WriterDep
from undercroft.flags.models import Schedule
from undercroft.flags.schemas.schedules import (
    ScheduleCreate,
    ScheduleId,
    SchedulePage,
    ScheduleRead,
    ScheduleStatus,
)
from undercroft.flags.service.schedules import Place
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.pagination import PageParamsDep

router = APIRouter(
    prefix="/v1/flags/{key}/environments/{environment}/schedules",
    tags=["schedules"],
    route_class=ServiceRoute,
)


@router.get("")
async def list_schedules(
    _: ReaderDep,
    key: str,
    environment: str,
    page: PageParamsDep,
    schedules: ScheduleServiceDep,
    status: Annotated[ScheduleStatus | None, Query(description="Only those in this state.")] = None,
) -> SchedulePage:
    """List the schedules of the flag in the environment, the newest first, finished ones too."""
    found = await schedules.list(Place(key, environment), page, status=status)
    return SchedulePage(items=[_shown(each) for each in found.items], next_cursor=found.next_cursor)


@router.post("", status_code=201)
async def create_schedule(
    _: WriterDep,
    key: str,
    environment: str,
    new: ScheduleCreate,
    schedules: ScheduleServiceDep,
    response: Response,
) -> ScheduleRead:
    """Plan a change at a time, or a ramp: a rule whose rollout grows step by step.

    The first step is rehearsed now and refused when it is impossible. A step that has become impossible when its time
    comes ends the schedule as `failed`, with the reason.
    """
    schedule = await schedules.create(Place(key, environment), new)
    shown = _shown(schedule)
    response.headers["Location"] = (
        f"/v1/flags/{key}/environments/{environment}/schedules/{shown.model_dump(mode='json')['id']}"
    )
    return shown


@router.get("/{schedule}")
async def get_schedule(
    _: ReaderDep, key: str, environment: str, schedule: ScheduleId, schedules: ScheduleServiceDep
) -> ScheduleRead:
    """Return a schedule and how far it has come."""
    return _shown(await schedules.get(Place(key, environment), schedule))


@router.delete("/{schedule}", status_code=204)
async def cancel_schedule(
    _: WriterDep, key: str, environment: str, schedule: ScheduleId, schedules: ScheduleServiceDep
) -> None:
    """Cancel what a schedule has not done yet; what it has done stays, and so does its record."""
    await schedules.cancel(Place(key, environment), schedule)


def _shown(schedule: Schedule) -> ScheduleRead:
    return ScheduleRead.model_validate(
        {
            "id": schedule.id,
            "status": schedule.status,
            "author": schedule.author,
            "next_at": schedule.next_at,
            "steps_done": schedule.next_step,
            "failure": schedule.failure,
            "created_at": schedule.created_at,
            "finished_at": schedule.finished_at,
            **schedule.plan,
        }
    )
