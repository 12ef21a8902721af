"""Imports from other products over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Body, Query

from undercroft.flags.dependencies import FollowCommit, UnleashImportServiceDep, WriterDep
from undercroft.flags.schemas.imports import ImportReport
from undercroft.flags.schemas.names import JsonObject
from undercroft.shared.idempotency import ServiceRoute

router = APIRouter(prefix="/v1/import", tags=["import"], route_class=ServiceRoute)

ExportBody = Annotated[
    JsonObject,
    Body(
        description="An export of Unleash: `/api/admin/features-batch/export`, or what clients get.",
        examples=[
            {"features": [{"name": "new-checkout", "enabled": True, "strategies": [{"name": "default"}]}]}
        ],
    ),
]


@router.post("/unleash", dependencies=[FollowCommit])
async def import_unleash_export(
    _: WriterDep,
    export: ExportBody,
    imports: UnleashImportServiceDep,
    *,
    environment: Annotated[
        str | None,
        Query(description="Where to; the environment of the same name, or production, when absent."),
    ] = None,
    from_environment: Annotated[
        str | None, Query(alias="from", description="Which environment of the export, if it has several.")
    ] = None,
    preview: Annotated[bool, Query(description="Only tell what would be imported.")] = False,
) -> ImportReport:
    """Import features with their strategies, constraints, segments and variants as flags by rules.

    The report names everything that is not exactly the same here. A strategy with a part that cannot be converted is
    left out whole: it lets nobody in who was not let in before.
    """
    return await imports.run(
        export, environment_key=environment, from_environment=from_environment, is_preview=preview
    )
