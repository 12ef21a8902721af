"""What routes ask for: the caller, services in the request's transaction, snapshots that follow a commit.

Environments and flags are the operator's. A caller bound to an organization is told that nothing is here (404), by
the platform's rule that others' resources do not exist for it, even if its key was given a flags scope; without the
scope it is told so (403), like everybody. `flags:evaluate` is what customers' keys are for.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Query, Request

from undercroft.flags.repository.changes import Author, ChangeRepository
from undercroft.flags.repository.definitions import DefinitionRepository
from undercroft.flags.repository.environments import EnvironmentRepository
from undercroft.flags.repository.events import EventRepository
from undercroft.flags.repository.flags import FlagFilter, FlagRepository
from undercroft.flags.repository.schedules import ScheduleRepository
from undercroft.flags.repository.segments import SegmentRepository
from undercroft.flags.repository.usage import UsageRepository
from undercroft.flags.schemas.names import EnvironmentKey, FlagState, FlagType
from undercroft.flags.service.announcements import Announcer
from undercroft.flags.service.bulk import BulkService
from undercroft.flags.service.definitions import DefinitionService
from undercroft.flags.service.documents import DocumentService
from undercroft.flags.service.environments import EnvironmentService
from undercroft.flags.service.evaluation import EvaluationService
from undercroft.flags.service.explanation import ExplanationService
from undercroft.flags.service.flag_reading import FlagReader
from undercroft.flags.service.flags import FlagService
from undercroft.flags.service.history import HistoryService
from undercroft.flags.service.promotion import PromotionService
from undercroft.flags.service.schedules import ScheduleService
from undercroft.flags.service.segments import SegmentService
from undercroft.flags.service.snapshots import SnapshotRefresher
from undercroft.flags.service.streams import StreamHub
from undercroft.flags.service.unleash_import import UnleashImportService
from undercroft.flags.service.usage import UsageService
from undercroft.flags.service.work import Limits, Repositories
from undercroft.flags.settings import FlagsSettings
from undercroft.shared.auth import Principal, Requires, Scope
from undercroft.shared.db import SessionDep
from undercroft.shared.errors import NotFoundError, UnavailableError

EvaluatorDep = Annotated[Principal, Depends(Requires(Scope.FLAGS_EVALUATE))]


async def require_reader(principal: Annotated[Principal, Depends(Requires(Scope.FLAGS_READ))]) -> Principal:
    """Admit callers of the operator's side that may read flags."""
    return _operators_side(principal)


async def require_writer(principal: Annotated[Principal, Depends(Requires(Scope.FLAGS_WRITE))]) -> Principal:
    """Admit callers of the operator's side that may change flags."""
    return _operators_side(principal)


def _operators_side(principal: Principal) -> Principal:
    if principal.organization_id is not None:
        raise NotFoundError("There is nothing at this path.")
    return principal


ReaderDep = Annotated[Principal, Depends(require_reader)]
WriterDep = Annotated[Principal, Depends(require_writer)]


async def follow_commit(request: Request) -> AsyncIterator[None]:
    """Refresh this replica's snapshots after the commit and before the answer: it reads its own writes.

    Listed on the route, so that it is entered before the session and left after it. A refresh that fails takes
    nothing back: the change is committed, and the worker catches up.
    """
    yield
    refresher: SnapshotRefresher = request.app.state.snapshot_refresher
    try:
        await refresher.refresh()
    except UnavailableError:
        return


FollowCommit = Depends(follow_commit, scope="function")


def get_repositories(session: SessionDep) -> Repositories:
    """Build the repositories of the request's transaction."""
    return Repositories(
        environments=EnvironmentRepository(session),
        flags=FlagRepository(session),
        definitions=DefinitionRepository(session),
        segments=SegmentRepository(session),
        changes=ChangeRepository(session),
        schedules=ScheduleRepository(session),
        usage=UsageRepository(session),
        events=EventRepository(session),
    )


RepositoriesDep = Annotated[Repositories, Depends(get_repositories)]


async def get_flag_filter(  # noqa: PLR0913  one parameter a filter
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
    environment: Annotated[
        EnvironmentKey | None, Query(description="Only flags that this environment defines.")
    ] = None,
    state: Annotated[
        FlagState | None,
        Query(description="Only flags in this state in the environment, or in any without `environment`."),
    ] = None,
    stale: Annotated[
        bool | None,
        Query(description="Only flags that have expired or are not evaluated any more, or the others."),
    ] = None,
) -> FlagFilter:
    """Read which flags to list."""
    return FlagFilter(
        is_archived=archived,
        tags=tuple(tag or ()),
        owner=owner,
        text=q,
        type=flag_type,
        environment=environment,
        state=state,
        is_stale=stale,
    )


FlagFilterDep = Annotated[FlagFilter, Depends(get_flag_filter)]


def get_limits(request: Request) -> Limits:
    """Read the limits from the settings."""
    settings: FlagsSettings = request.app.state.settings
    return Limits(
        max_environments=settings.max_environments,
        max_flags=settings.max_flags,
        max_segments=settings.max_segments,
    )


LimitsDep = Annotated[Limits, Depends(get_limits)]


def get_actor(request: Request) -> str:
    """Return the subject that events name; the route has admitted it before."""
    principal: Principal = request.state.principal
    return principal.subject


ActorDep = Annotated[str, Depends(get_actor)]


def get_author(actor: ActorDep) -> Author:
    """Return who the history names."""
    return Author(actor=actor)


AuthorDep = Annotated[Author, Depends(get_author)]


def get_environment_service(
    repositories: RepositoriesDep, actor: ActorDep, limits: LimitsDep
) -> EnvironmentService:
    """Build the use cases of environments."""
    return EnvironmentService(repositories, actor=actor, limits=limits)


def get_flag_service(repositories: RepositoriesDep, author: AuthorDep, limits: LimitsDep) -> FlagService:
    """Build the use cases of flags."""
    return FlagService(repositories, author=author, limits=limits)


def get_definition_service(repositories: RepositoriesDep, author: AuthorDep) -> DefinitionService:
    """Build the use cases of a flag in an environment."""
    return DefinitionService(repositories, author=author)


def get_document_service(
    repositories: RepositoriesDep, author: AuthorDep, limits: LimitsDep
) -> DocumentService:
    """Build the use cases of flagd documents."""
    return DocumentService(repositories, author=author, limits=limits)


def get_segment_service(
    repositories: RepositoriesDep, author: AuthorDep, limits: LimitsDep
) -> SegmentService:
    """Build the use cases of segments."""
    return SegmentService(repositories, author=author, limits=limits)


def get_history_service(
    repositories: RepositoriesDep, author: AuthorDep, limits: LimitsDep
) -> HistoryService:
    """Build the use cases of the history."""
    return HistoryService(repositories, author=author, limits=limits)


def get_explanation_service(repositories: RepositoriesDep) -> ExplanationService:
    """Build the use case of explanations."""
    return ExplanationService(repositories)


ExplanationServiceDep = Annotated[ExplanationService, Depends(get_explanation_service)]


def get_schedule_service(repositories: RepositoriesDep, author: AuthorDep) -> ScheduleService:
    """Build the use cases of schedules."""
    return ScheduleService(repositories, author=author)


ScheduleServiceDep = Annotated[ScheduleService, Depends(get_schedule_service)]


def get_usage_service(repositories: RepositoriesDep) -> UsageService:
    """Build the use cases of counted evaluations."""
    return UsageService(repositories)


def get_bulk_service(repositories: RepositoriesDep, author: AuthorDep) -> BulkService:
    """Build the use case of several changes at once."""
    return BulkService(repositories, author=author)


def get_promotion_service(repositories: RepositoriesDep, author: AuthorDep) -> PromotionService:
    """Build the use case of copies between environments."""
    return PromotionService(repositories, author=author)


def get_flag_reader(request: Request, repositories: RepositoriesDep) -> FlagReader:
    """Build the use cases of reading flags."""
    settings: FlagsSettings = request.app.state.settings
    return FlagReader(repositories, stale_after=timedelta(days=settings.stale_after_days))


def get_unleash_import_service(
    repositories: RepositoriesDep, author: AuthorDep, limits: LimitsDep
) -> UnleashImportService:
    """Build the use case of imports from Unleash."""
    return UnleashImportService(repositories, author=author, limits=limits)


UnleashImportServiceDep = Annotated[UnleashImportService, Depends(get_unleash_import_service)]
UsageServiceDep = Annotated[UsageService, Depends(get_usage_service)]
BulkServiceDep = Annotated[BulkService, Depends(get_bulk_service)]
PromotionServiceDep = Annotated[PromotionService, Depends(get_promotion_service)]
FlagReaderDep = Annotated[FlagReader, Depends(get_flag_reader)]
SegmentServiceDep = Annotated[SegmentService, Depends(get_segment_service)]
HistoryServiceDep = Annotated[HistoryService, Depends(get_history_service)]
EnvironmentServiceDep = Annotated[EnvironmentService, Depends(get_environment_service)]
FlagServiceDep = Annotated[FlagService, Depends(get_flag_service)]
DefinitionServiceDep = Annotated[DefinitionService, Depends(get_definition_service)]
DocumentServiceDep = Annotated[DocumentService, Depends(get_document_service)]


def evaluation_service(request: Request) -> EvaluationService:
    """Return the one evaluation service of the process; called directly, outside the dependency machinery."""
    service: EvaluationService = request.app.state.evaluation_service
    return service


def announcer(request: Request) -> Announcer:
    """Return the one announcer of the process."""
    found: Announcer = request.app.state.announcer
    return found


def stream_hub(request: Request) -> StreamHub:
    """Return the streams of the process."""
    hub: StreamHub = request.app.state.streams
    return hub
