"""Flags over HTTP: what a flag is everywhere."""

from fastapi import APIRouter, Response

from undercroft.flags.dependencies import (
    BulkServiceDep,
    FlagFilterDep,
    FlagReaderDep,
    FlagServiceDep,
    FollowCommit,
    ReaderDep,
    RepositoriesDep,
    WriterDep,
)
from undercroft.flags.models import Flag
from undercroft.flags.schemas.flags import BulkChange, BulkResult, FlagCreate, FlagPage, FlagRead, FlagUpdate
from undercroft.flags.service.flag_reading import FlagReader
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.pagination import PageParamsDep
from undercroft.shared.preconditions import IfMatch, etag_for

router = APIRouter(prefix="/v1/flags", tags=["flags"], route_class=ServiceRoute)


@router.get("")
async def list_flags(
    _: ReaderDep, page: PageParamsDep, matching: FlagFilterDep, reader: FlagReaderDep
) -> FlagPage:
    """List flags in the order they were created."""
    return await reader.list(page, matching)


@router.post("", status_code=201)
async def create_flag(
    _: WriterDep, new: FlagCreate, flags: FlagServiceDep, reader: FlagReaderDep, response: Response
) -> FlagRead:
    """Create a flag. It is evaluated in an environment once it is defined there."""
    flag = await flags.create(new)
    response.headers["Location"] = f"/v1/flags/{flag.key}"
    return await _read(flag, reader, response)


@router.post("/bulk", dependencies=[FollowCommit])
async def change_flag_states(_: WriterDep, change: BulkChange, bulk: BulkServiceDep) -> BulkResult:
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
