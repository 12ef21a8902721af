"""Copies from one environment to another over HTTP."""

from fastapi import APIRouter, Response

from undercroft.flags.dependencies import FollowCommit, PromotionServiceDep, WriterDep
from undercroft.flags.schemas.promotions import PromotionCreate, PromotionResult
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.preconditions import IfMatch

router = APIRouter(
    prefix="/v1/environments/{environment}/promotions", tags=["environments"], route_class=ServiceRoute
)


@router.post("", dependencies=[FollowCommit], response_model_exclude_unset=True)
async def promote_definitions(
    _: WriterDep,
    environment: str,
    wanted: PromotionCreate,
    promotions: PromotionServiceDep,
    response: Response,
    if_match: IfMatch = None,
) -> PromotionResult:
    """Copy definitions from another environment into this one, or show what that would change.

    A preview answers an ETag; sent as `If-Match` it makes sure that what is copied is what was shown.
    """
    promoted = await promotions.promote(environment, wanted, if_match=if_match)
    response.headers["ETag"] = promoted.etag
    return promoted.result
