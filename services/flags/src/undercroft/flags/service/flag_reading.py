"""Reading flags with what is known about their use."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from undercroft.flags.models import Flag
from undercroft.flags.repository.flags import FlagFilter
from undercroft.flags.schemas.flags import FlagPage, FlagRead, StaleReason
from undercroft.flags.service.work import Repositories
from undercroft.shared.pagination import PageParams


class FlagReader:
    """Shows flags; one that was not evaluated for `stale_after` is unused."""

    def __init__(self, repositories: Repositories, *, stale_after: timedelta) -> None:
        self._repositories = repositories
        self._stale_after = stale_after

    async def list(self, page: PageParams, wanted: FlagFilter) -> FlagPage:
        """Return a page of flags in the order they were created."""
        now = datetime.now(UTC)
        found = await self._repositories.flags.list(page, wanted, unused_since=now - self._stale_after)
        return FlagPage(items=[*await self._shown(found.items, now)], next_cursor=found.next_cursor)

    async def show(self, flag: Flag) -> FlagRead:
        """Show one flag."""
        (shown,) = await self._shown([flag], datetime.now(UTC))
        return shown

    async def _shown(self, flags: Sequence[Flag], now: datetime) -> Sequence[FlagRead]:
        last = await self._repositories.usage.last_of([flag.id for flag in flags])
        return [
            FlagRead(
                id=flag.id,
                key=flag.key,
                type=flag.type,
                description=flag.description,
                owner=flag.owner,
                tags=flag.tags,
                variants=flag.variants,
                states=flag.states,
                archived_at=flag.archived_at,
                expires_at=flag.expires_at,
                last_evaluated_at=last.get(flag.id),
                stale=[*self._stale(flag, last.get(flag.id), now)],
                created_at=flag.created_at,
                updated_at=flag.updated_at,
            )
            for flag in flags
        ]

    def _stale(self, flag: Flag, last: datetime | None, now: datetime) -> Sequence[StaleReason]:
        reasons: tuple[StaleReason, ...] = ()
        if flag.archived_at is None:
            if flag.expires_at is not None and flag.expires_at <= now:
                reasons += ("expired",)
            if max(last or flag.created_at, flag.created_at) < now - self._stale_after:
                reasons += ("unused",)
        return reasons
