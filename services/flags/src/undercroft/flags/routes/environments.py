"""Environments over HTTP."""

from fastapi import APIRouter, Response

from undercroft.flags.dependencies import (
    EnvironmentServiceDep,
    FollowCommit,
    ReaderDep,
    RepositoriesDep,
    WriterDep,
)
from undercroft.flags.models import Environment
from undercroft.flags.schemas.environments import (
    EnvironmentCreate,
    EnvironmentPage,
    EnvironmentRead,
    EnvironmentUpdate,
)
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.pagination import PageParamsDep
from undercroft.shared.preconditions import IfMatch, etag_for

router = APIRouter(prefix="/v1/environments", tags=["environments"], route_class=ServiceRoute)


@router.get("")
async def list_environments(
    _: ReaderDep, page: PageParamsDep, repositories: RepositoriesDep
) -> EnvironmentPage:
    """List the environments in the order they were created."""
    return EnvironmentPage.of(await repositories.environments.list(page))


@router.post("", status_code=201, dependencies=[FollowCommit])
async def create_environment(
    _: WriterDep, new: EnvironmentCreate, environments: EnvironmentServiceDep, response: Response
) -> EnvironmentRead:
    """Create an environment without flags."""
    environment = await environments.create(new)
    response.headers["Location"] = f"/v1/environments/{environment.key}"
    return _read(environment, response)


@router.get("/{environment}")
async def get_environment(
    _: ReaderDep, environment: str, repositories: RepositoriesDep, response: Response
) -> EnvironmentRead:
    """Return an environment."""
    return _read(await repositories.environments.get(environment), response)


@router.patch("/{environment}", dependencies=[FollowCommit])
async def update_environment(
    _: WriterDep,
    environment: str,
    change: EnvironmentUpdate,
    environments: EnvironmentServiceDep,
    response: Response,
    if_match: IfMatch = None,
) -> EnvironmentRead:
    """Change an environment's name or description; its key stays."""
    return _read(await environments.update(environment, change, if_match=if_match), response)


@router.delete("/{environment}", status_code=204, dependencies=[FollowCommit])
async def delete_environment(
    _: WriterDep, environment: str, environments: EnvironmentServiceDep, if_match: IfMatch = None
) -> None:
    """Delete an environment and all definitions in it; `production` is refused (409)."""
    await environments.delete(environment, if_match=if_match)


def _read(environment: Environment, response: Response) -> EnvironmentRead:
    response.headers["ETag"] = etag_for(environment.revision)
    return EnvironmentRead.model_validate(environment)
