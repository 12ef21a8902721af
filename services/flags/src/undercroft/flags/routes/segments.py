"""Segments over HTTP: conditions under a name."""

from fastapi import APIRouter, Response

from undercroft.flags.dependencies import (
    FollowCommit,
    HistoryServiceDep,
    ReaderDep,
    RepositoriesDep,
    SegmentServiceDep,
    WriterDep,
)
from undercroft.flags.models import Segment
from undercroft.flags.schemas.changes import ChangePage, RestoreResult
from undercroft.flags.schemas.segments import (
    SegmentCreate,
    SegmentPage,
    SegmentRead,
    SegmentUpdate,
    SegmentUse,
    SegmentUses,
)
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.pagination import PageParamsDep
from undercroft.shared.preconditions import IfMatch, etag_for

router = APIRouter(prefix="/v1/segments", tags=["segments"], route_class=ServiceRoute)


@router.get("")
async def list_segments(_: ReaderDep, page: PageParamsDep, repositories: RepositoriesDep) -> SegmentPage:
    """List the segments in the order they were created."""
    found = await repositories.segments.list(page)
    return SegmentPage(items=[_shown(each) for each in found.items], next_cursor=found.next_cursor)


@router.post("", status_code=201, dependencies=[FollowCommit])
async def create_segment(
    _: WriterDep, new: SegmentCreate, segments: SegmentServiceDep, response: Response
) -> SegmentRead:
    """Create a segment. Rules of every flag can refer to it from now on: `{"operator": "in_segment", "value": key}`."""
    segment = await segments.create(new)
    response.headers["Location"] = f"/v1/segments/{segment.key}"
    return _read(segment, response)


@router.get("/{key}")
async def get_segment(
    _: ReaderDep, key: str, repositories: RepositoriesDep, response: Response
) -> SegmentRead:
    """Return a segment."""
    return _read(await repositories.segments.get(key), response)


@router.patch("/{key}", dependencies=[FollowCommit])
async def update_segment(
    _: WriterDep,
    key: str,
    change: SegmentUpdate,
    segments: SegmentServiceDep,
    response: Response,
    if_match: IfMatch = None,
) -> SegmentRead:
    """Change a segment; new conditions hold at once for every flag in every environment that refers to it."""
    return _read(await segments.update(key, change, if_match=if_match), response)


@router.delete("/{key}", status_code=204, dependencies=[FollowCommit])
async def delete_segment(
    _: WriterDep, key: str, segments: SegmentServiceDep, if_match: IfMatch = None
) -> None:
    """Delete a segment; refused (409) while a flag or another segment refers to it."""
    await segments.delete(key, if_match=if_match)


@router.get("/{key}/uses")
async def list_segment_uses(_: ReaderDep, key: str, segments: SegmentServiceDep) -> SegmentUses:
    """Tell which flags, where, and which other segments refer to the segment."""
    uses = await segments.uses(key)
    flags = [SegmentUse(flag=flag, environment=environment) for environment, flag in uses.flags]
    return SegmentUses(flags=flags, segments=uses.segments)


@router.get("/{key}/history", response_model_exclude_unset=True)
async def list_segment_changes(
    _: ReaderDep, key: str, page: PageParamsDep, history: HistoryServiceDep
) -> ChangePage:
    """List every change of the segment, the newest first, each as a JSON Patch."""
    return await history.of_segment(key, page)


@router.post(
    "/{key}/history/{revision}/restore", dependencies=[FollowCommit], response_model_exclude_unset=True
)
async def restore_segment_revision(
    _: WriterDep, key: str, revision: int, history: HistoryServiceDep, if_match: IfMatch = None
) -> RestoreResult:
    """Make the segment what it was after that change; a deleted one comes back."""
    return await history.restore_segment(key, revision, if_match=if_match)


def _read(segment: Segment, response: Response) -> SegmentRead:
    response.headers["ETag"] = etag_for(segment.revision)
    return _shown(segment)


def _shown(segment: Segment) -> SegmentRead:
    return SegmentRead.model_validate(
        {
            "id": segment.id,
            "key": segment.key,
            "name": segment.name,
            "description": segment.description,
            "conditions": segment.definition["conditions"],
            "created_at": segment.created_at,
            "updated_at": segment.updated_at,
        }
    )
