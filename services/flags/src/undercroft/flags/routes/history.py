"""The history of a flag over HTTP: who changed what, and going back."""

from typing import Annotated

from fastapi import APIRouter, Query

from undercroft.flags.dependencies import FollowCommit, HistoryServiceDep, ReaderDep, WriterDep
from undercroft.flags.schemas.changes import ChangePage, RestoreResult
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.pagination import PageParamsDep
from undercroft.shared.preconditions import IfMatch

router = APIRouter(prefix="/v1/flags/{key}/history", tags=["history"], route_class=ServiceRoute)


@router.get("", response_model_exclude_unset=True)
async def list_flag_changes(
    _: ReaderDep,
    key: str,
    page: PageParamsDep,
    history: HistoryServiceDep,
    environment: Annotated[
        str | None, Query(description="Only what was changed in this environment.")
    ] = None,
) -> ChangePage:
    """List every change of the flag and of its definitions, the newest first, each as a JSON Patch."""
    return await history.of_flag(key, page, environment=environment)


@router.post("/{revision}/restore", dependencies=[FollowCommit], response_model_exclude_unset=True)
async def restore_flag_revision(
    _: WriterDep, key: str, revision: int, history: HistoryServiceDep, if_match: IfMatch = None
) -> RestoreResult:
    """Make the flag, or its definition in the environment that was changed, what it was after that change.

    To undo a change, restore the one before it.
    """
    return await history.restore_flag(key, revision, if_match=if_match)
