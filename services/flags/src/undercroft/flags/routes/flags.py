"""Flags over HTTP: what a flag is everywhere."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response

from undercroft.flags.dependencies import (
    BulkServiceDep,
    FlagReaderDep,
    FlagServiceDep,
    FollowCommit,
    ReaderDep,
    RepositoriesDep,
    WriterDep,
)
from undercroft.flags.models import Flag
from undercroft.flags.repository.flags import FlagFilter
from undercroft.flags.schemas.flags import BulkChange, BulkResult, FlagCreate, FlagRead, FlagUpdate
from undercroft.flags.schemas.names import FlagType
from undercroft.flags.service.flag_reading import FlagReader
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.pagination import Page, PageParamsDep
from undercroft.shared.preconditions import IfMatch, etag_for

router = APIRouter(prefix="/v1/flags", tags=["flags"], route_class=ServiceRoute)


async def flag_filter(  # noqa: PLR0913  one parameter a filter
    *,
    archived: Annotated[bool, Query(description="Archived flags instead of those in use.")] = False,
    tag: Annotated[
        list[str] | None, Query(max_length=20, description="Only flags with all these tags.")
    ] = None,
    owner: Annotated[str | None, Query(description="Only flags of this owner.")] = None,
    q: Annotated[
        str | None,
        Query(min_length=1, max_length=200, description="Only flags with this in key or description."),
    ] = None,
    flag_type: Annotated[FlagType | None, Query(alias="type", description="Only flags of this type.")] = None,
    environment: Annotated[str | None, Query(description="Only flags that are defined there.")] = None,
    state: Annotated[
        Literal["ENABLED", "DISABLED"] | None, Query(description="Only those in this state in `environment`.")
    ] = None,
    stale: Annotated[
        bool | None,
        Query(description="Only flags that have expired or are not evaluated any more, or the others."),
    ] = None,
) -> FlagFilter:
    """Read what a list is narrowed to."""
    now = datetime.now(UTC)
    return FlagFilter(
        is_archived=archived,
        tags=tuple(tag or ()),
        owner=owner,
        text=q,
        type=flag_type,
        environment=environment or ("production" if state else None),
        state=state,
        is_stale=stale,
        now=now,
        unused_since=now,
    )


@router.get("")
async def list_flags(
    _: ReaderDep,
    page: PageParamsDep,
    wanted: Annotated[FlagFilter, Depends(flag_filter)],
    reader: FlagReaderDep,
) -> Page[FlagRead]:
    """List flags in the order they were created. `state` without `environment` is that in production."""
    return await reader.list(page, wanted)


@router.post("", status_code=201)
async def create_flag(
    _: WriterDep, new: FlagCreate, flags: FlagServiceDep, reader: FlagReaderDep, response: Response
) -> FlagRead:
    """Create a flag. It is evaluated in an environment once it is defined there."""
    flag = await flags.create(new)
    response.headers["Location"] = f"/v1/flags/{flag.key}"
    return await _read(flag, reader, response)


@router.post("/bulk", dependencies=[FollowCommit])
async def change_states(_: WriterDep, change: BulkChange, bulk: BulkServiceDep) -> BulkResult:
    """Enable and disable several flags in one transaction: all of it, or nothing with the place of each obstacle."""
    return await bulk.change(change)


@router.get("/{key}")
async def get_flag(
    _: ReaderDep, key: str, repositories: RepositoriesDep, reader: FlagReaderDep, response: Response
) -> FlagRead:
    """Return a flag, an archived one too."""
    return await _read(await repositories.flags.get(key), reader, response)


@router.patch("/{key}", dependencies=[FollowCommit])
async def update_flag(
    *,
    _: WriterDep,
    key: str,
    change: FlagUpdate,
    flags: FlagServiceDep,
    reader: FlagReaderDep,
    response: Response,
    if_match: IfMatch = None,
) -> FlagRead:
    """Change a flag; `archived: false` brings it back with the definitions it had."""
    return await _read(await flags.update(key, change, if_match=if_match), reader, response)


@router.delete("/{key}", status_code=204, dependencies=[FollowCommit])
async def archive_flag(_: WriterDep, key: str, flags: FlagServiceDep, if_match: IfMatch = None) -> None:
    """Archive a flag: no environment evaluates it any more, and its key stays taken.

    Refused (409) while another flag has it as a prerequisite.
    """
    await flags.archive(key, if_match=if_match)


async def _read(flag: Flag, reader: FlagReader, response: Response) -> FlagRead:
    response.headers["ETag"] = etag_for(flag.revision)
    return await reader.show(flag)
