"""Counted evaluations over HTTP."""

from collections import Counter
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from undercroft.flags.dependencies import ReaderDep, UsageServiceDep
from undercroft.flags.schemas.usage import UsageCount, UsageRead
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.serialization import Timestamp

router = APIRouter(prefix="/v1/flags/{key}/usage", tags=["usage"], route_class=ServiceRoute)


@router.get("")
async def get_flag_usage(
    *,
    _: ReaderDep,
    key: str,
    usage: UsageServiceDep,
    since: Annotated[
        Timestamp | None, Query(alias="from", description="30 days, or 24 hours, by default.")
    ] = None,
    until: Annotated[Timestamp | None, Query(alias="to", description="Now, by default.")] = None,
    window: Annotated[Literal["hour", "day"], Query(description="What is counted together.")] = "day",
    environment: Annotated[str | None, Query(description="Only evaluations there.")] = None,
) -> UsageRead:
    """Tell how often the flag gave each variant. Counts of the last seconds are still on their way."""
    found = await usage.of_flag(key, since=since, until=until, window=window, environment=environment)
    totals: Counter[str] = Counter()
    for row in found.rows:
        if row.variant:
            totals[row.variant] += row.evaluations
    return UsageRead(
        window=window,
        since=found.since,
        until=found.until,
        last_evaluated_at=found.last_evaluated_at,
        totals=dict(totals),
        items=[
            UsageCount(
                start=row.start,
                environment=row.environment,
                variant=row.variant or None,
                reason=row.reason,
                count=row.evaluations,
            )
            for row in found.rows
        ],
    )
