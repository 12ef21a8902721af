"""Flags over HTTP: what a flag is everywhere."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from undercroft.flags.dependencies import (
    FlagServiceDep,
    FollowCommit,
    ReaderDep,
    RepositoriesDep,
    WriterDep,
)
from undercroft.flags.models import Flag
from undercroft.flags.schemas.flags import FlagCreate, FlagRead, FlagUpdate
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.pagination import Page, PageParamsDep
from undercroft.shared.preconditions import IfMatch, etag_for

router = APIRouter(prefix="/v1/flags", tags=["flags"], route_class=ServiceRoute)


@router.get("")
async def list_flags(
    _: ReaderDep,
    page: PageParamsDep,
    repositories: RepositoriesDep,
    tag: Annotated[str | None, Query(description="Only flags with this tag.")] = None,
    archived: Annotated[bool, Query(description="Archived flags instead of those in use.")] = False,  # noqa: FBT002
) -> Page[FlagRead]:
    """List flags in the order they were created."""
    return (await repositories.flags.list(page, is_archived=archived, tag=tag)).of(FlagRead)


@router.post("", status_code=201)
async def create_flag(_: WriterDep, new: FlagCreate, flags: FlagServiceDep, response: Response) -> FlagRead:
    """Create a flag. It is evaluated in an environment once it is defined there."""
    flag = await flags.create(new)
    response.headers["Location"] = f"/v1/flags/{flag.key}"
    return _read(flag, response)


@router.get("/{key}")
async def get_flag(_: ReaderDep, key: str, repositories: RepositoriesDep, response: Response) -> FlagRead:
    """Return a flag, an archived one too."""
    return _read(await repositories.flags.get(key), response)


@router.patch("/{key}", dependencies=[FollowCommit])
async def update_flag(
    _: WriterDep,
    key: str,
    change: FlagUpdate,
    flags: FlagServiceDep,
    response: Response,
    if_match: IfMatch = None,
) -> FlagRead:
    """Change a flag; `archived: false` brings it back with the definitions it had."""
    return _read(await flags.update(key, change, if_match=if_match), response)


@router.delete("/{key}", status_code=204, dependencies=[FollowCommit])
async def archive_flag(_: WriterDep, key: str, flags: FlagServiceDep, if_match: IfMatch = None) -> None:
    """Archive a flag: no environment evaluates it any more, and its key stays taken."""
    await flags.archive(key, if_match=if_match)


def _read(flag: Flag, response: Response) -> FlagRead:
    response.headers["ETag"] = etag_for(flag.revision)
    return FlagRead.model_validate(flag)
