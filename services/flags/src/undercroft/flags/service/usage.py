"""Counting evaluations: in memory where they happen, in the database a few seconds later."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple
from uuid import UUID

from undercroft.flags.domain.evaluation import Answer, Evaluation, Reason
from undercroft.flags.domain.flag_set import FlagSet, Tally
from undercroft.flags.errors import PeriodInvalidError
from undercroft.flags.repository.usage import Counted, UsageRow
from undercroft.flags.service.work import Repositories
from undercroft.shared.errors import FieldProblem

Window = Literal["hour", "day"]

_EXACT_BULKS: Final = 64
_BULK_SAMPLE: Final = 16
_MAX_WINDOWS: Final = 500
_LENGTHS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_DEFAULT_WINDOWS: Final = {"hour": 24, "day": 30}


class UsageCounter:
    """Counts in plain dictionaries; one addition for an evaluation, and for a bulk one of each targeted flag.

    Of bulk evaluations the first few between two drains are counted, so that rare ones are never missed, and then one
    in sixteen, sixteen times.
    """

    def __init__(self) -> None:
        self._tallies: dict[UUID, Tally] = {}
        self._kept: list[Counted] = []
        self._bulks = 0

    def tally_of(self, environment_id: UUID) -> Tally:
        """Return what evaluations of an environment are counted in until the next drain."""
        tally = self._tallies.get(environment_id)
        if tally is None:
            tally = self._tallies[environment_id] = {}
        return tally

    def bulk_weight(self) -> int:
        """Return how many times a bulk evaluation that happens now counts, 0 for not at all."""
        self._bulks += 1
        if self._bulks <= _EXACT_BULKS:
            return 1
        return 0 if self._bulks % _BULK_SAMPLE else _BULK_SAMPLE

    def drain(self) -> list[Counted]:
        """Return what was counted since the last drain, and begin anew."""
        tallies, self._tallies, self._bulks = self._tallies, {}, 0
        totals: Counter[tuple[UUID, str, str, str]] = Counter()
        for each in self._kept:
            totals[each.environment_id, each.key, each.variant, each.reason] += each.count
        self._kept = []
        for environment_id, tally in tallies.items():
            for what, count in tally.items():
                for key, variant, reason in _evaluations(what):
                    totals[environment_id, key, variant, reason] += count
        return [
            Counted(environment_id=environment_id, key=key, variant=variant, reason=reason, count=count)
            for (environment_id, key, variant, reason), count in totals.items()
        ]

    def keep(self, counted: list[Counted]) -> None:
        """Take back what could not be stored; it is part of the next drain."""
        self._kept = counted


class Usage(NamedTuple):
    """The evaluations of a flag in a period."""

    since: datetime
    until: datetime
    last_evaluated_at: datetime | None
    rows: Sequence[UsageRow]


class UsageService:
    """Stores and reads counts."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    async def store(self, counted: Sequence[Counted], *, at: datetime) -> None:
        """Add what a replica counted."""
        await self._repositories.usage.add(counted, at)

    async def of_flag(
        self,
        key: str,
        *,
        since: datetime | None,
        until: datetime | None,
        window: Window,
        environment: str | None,
    ) -> Usage:
        """Return the evaluations of a flag by variant over time; raises `PeriodInvalidError`."""
        flag = await self._repositories.flags.get(key)
        length = _LENGTHS[window]
        until = until or datetime.now(UTC)
        since = since or _floor(until, window) - length * (_DEFAULT_WINDOWS[window] - 1)
        if not since < until:
            raise _invalid("a period begins before it ends")
        if (until - since) / length > _MAX_WINDOWS:
            raise _invalid(f"at most {_MAX_WINDOWS} windows of a {window}")
        rows = await self._repositories.usage.of_flag(
            flag.id, since=since, until=until, window=window, environment=environment
        )
        last = await self._repositories.usage.last_of([flag.id])
        return Usage(since, until, last.get(flag.id), rows)


def _evaluations(what: object) -> list[tuple[str, str, str]]:
    """Return key, variant and reason of what a tally counts."""
    if isinstance(what, Answer):
        return [_about(what.evaluation)]
    if isinstance(what, FlagSet):
        return [_about(evaluation) for evaluation in what.static_evaluations]
    return [(str(what), "", Reason.ERROR.value)]


def _about(evaluation: Evaluation) -> tuple[str, str, str]:
    return evaluation.key, evaluation.variant, evaluation.reason.value


def _floor(moment: datetime, window: Window) -> datetime:
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour if window == "hour" else hour.replace(hour=0)


def _invalid(detail: str) -> PeriodInvalidError:
    return PeriodInvalidError(detail, problems=[FieldProblem("#/from", detail, "period_invalid")])
