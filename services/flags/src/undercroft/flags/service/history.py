"""Use cases of the history: what a change was, and going back to one."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final, Literal

from undercroft.flags.domain.json_patch import difference
from undercroft.flags.errors import FlagArchivedError
from undercroft.flags.models import Change, Flag
from undercroft.flags.repository.changes import Author
from undercroft.flags.schemas.changes import ChangePage, ChangeRead, PatchOperation, RestoreResult
from undercroft.flags.schemas.flags import FlagUpdate
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.schemas.segments import SegmentCreate, SegmentUpdate
from undercroft.flags.service.flags import FlagService
from undercroft.flags.service.segments import SegmentService
from undercroft.flags.service.work import Limits, Repositories
from undercroft.flags.service.writing import DefinitionWriter, Wanted
from undercroft.shared.pagination import Page, PageParams
from undercroft.shared.preconditions import check_if_match, etag_for

_RESTORED_ATTRIBUTES: Final = ("description", "owner", "tags", "variants", "archived")


class HistoryService:
    """Reads the history, and restores from it in the name of an author."""

    def __init__(self, repositories: Repositories, *, author: Author, limits: Limits) -> None:
        restoring = replace(author, origin="restore")
        self._repositories = repositories
        self._flags = FlagService(repositories, author=restoring, limits=limits)
        self._segments = SegmentService(repositories, author=restoring, limits=limits)
        self._writer = DefinitionWriter(repositories, restoring)

    async def of_flag(self, key: str, page: PageParams, *, environment: str | None) -> ChangePage:
        """Return a page of what was changed about a flag, the newest first."""
        flag = await self._repositories.flags.get(key)
        return _shown(await self._repositories.changes.of_flag(flag.id, page, environment=environment))

    async def of_segment(self, key: str, page: PageParams) -> ChangePage:
        """Return a page of what was changed about a segment, a deleted one too, the newest first."""
        found = await self._repositories.changes.of_segment(key, page)
        if not found.items:
            await self._repositories.segments.get(key)
        return _shown(found)

    async def restore_flag(self, key: str, revision: int, *, if_match: str | None) -> RestoreResult:
        """Make what the change was about what it was after the change: the flag, or its definition somewhere.

        `if_match` is compared with the ETag of the one or the other. Raises what writing it anew would raise, such as
        `DefinitionInvalidError` when a segment that it used is gone.
        """
        flag = await self._repositories.flags.get(key)
        change = await self._repositories.changes.get(revision, flag_id=flag.id)
        where = change.environment
        before = await self._repositories.changes.latest(flag_id=flag.id, environment=where)
        if where is None:
            await self._flags.update(key, _update_of(change.after or {}), if_match=if_match)
        else:
            await self._restore_definition(key, where, change.after, if_match=if_match)
        after = await self._repositories.changes.latest(flag_id=flag.id, environment=where)
        return _result(revision, before, after)

    async def restore_segment(self, key: str, revision: int, *, if_match: str | None) -> RestoreResult:
        """Make a segment what it was after a change; of the change that deleted it, what it was before."""
        change = await self._repositories.changes.get(revision, segment=key)
        state = change.after or change.before or {}
        before = await self._repositories.changes.latest(segment=key)
        if before is not None and before.after is None:
            await self._segments.create(SegmentCreate.model_validate({"key": key, **state}))
        else:
            await self._segments.update(key, SegmentUpdate.model_validate(state), if_match=if_match)
        return _result(revision, before, await self._repositories.changes.latest(segment=key))

    async def _restore_definition(
        self, key: str, environment_key: str, source: JsonObject | None, *, if_match: str | None
    ) -> None:
        environment = await self._repositories.environments.get_locked(environment_key)
        flag: Flag = await self._repositories.flags.get_locked(key, is_shared=True)
        if flag.archived_at is not None:
            raise FlagArchivedError(f"{key} is archived.")
        current = await self._repositories.definitions.find(environment.id, flag.id)
        check_if_match(if_match, etag_for(current.revision) if current else None)
        if source is None:
            await self._writer.remove(environment, flag)
        else:
            await self._writer.write(environment, [Wanted(flag, source)])


def shown(change: Change) -> ChangeRead:
    """Return a change as the wire shows it."""
    kind: Literal["created", "updated", "removed"] = "updated"
    if change.before is None:
        kind = "created"
    elif change.after is None:
        kind = "removed"
    operations = difference(change.before or {}, change.after or {})
    return ChangeRead(
        revision=change.revision,
        at=change.at,
        actor=change.actor,
        origin=change.origin,
        environment=change.environment,
        schedule_id=change.schedule_id,
        kind=kind,
        diff=[PatchOperation.model_validate(operation) for operation in operations],
    )


def _shown(page: Page[Change]) -> ChangePage:
    return ChangePage(items=[shown(change) for change in page.items], next_cursor=page.next_cursor)


def _result(revision: int, before: Change | None, after: Change | None) -> RestoreResult:
    is_new = after is not None and (before is None or after.revision != before.revision)
    return RestoreResult(restored=revision, change=shown(after) if is_new and after is not None else None)


def _update_of(state: Mapping[str, object]) -> FlagUpdate:
    """Return the update that gives a flag these attributes; its type is not among what changes."""
    expires_at = state.get("expiresAt")
    return FlagUpdate.model_validate(
        {
            **{name: state[name] for name in _RESTORED_ATTRIBUTES if name in state},
            "expires_at": None if expires_at is None else datetime.fromisoformat(str(expires_at)),
        }
    )
