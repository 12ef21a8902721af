"""The flags service, put together. Nothing happens at import."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
from fastapi import FastAPI
from starlette.middleware import Middleware

from undercroft.flags.models import idempotency_keys, outbox
from undercroft.flags.repository.snapshots import SnapshotRepository
from undercroft.flags.routes import (
    definitions,
    documents,
    environments,
    flags,
    history,
    imports,
    ofrep,
    promotions,
    schedules,
    segments,
    streams,
    usage,
)
from undercroft.flags.routes.ofrep_door import EvaluationDoor
from undercroft.flags.service.announcements import Announcer
from undercroft.flags.service.evaluation import EvaluationService
from undercroft.flags.service.snapshots import SnapshotRefresher, SnapshotStore
from undercroft.flags.service.streams import StreamBounds, StreamHub
from undercroft.flags.service.usage import UsageCounter
from undercroft.flags.settings import FlagsSettings
from undercroft.flags.worker import flush_usage, follow_changes, prune, run_schedules
from undercroft.shared.app import create_service_app
from undercroft.shared.auth import PrincipalKeys
from undercroft.shared.command import run_command
from undercroft.shared.db import Database
from undercroft.shared.errors import UnavailableError
from undercroft.shared.events.feed import feed_router
from undercroft.shared.health import ReadinessCheck
from undercroft.shared.logs import get_logger
from undercroft.shared.notifications import NotificationListener
from undercroft.shared.stream_tokens import StreamTokenSigner
from undercroft.shared.workers import Supervisor

_logger = get_logger(__name__)


def create_app(settings: FlagsSettings, *, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """Build the service; `transport` is part of every deployable's signature, this one calls nobody."""
    del transport
    app = create_service_app(
        settings,
        description="Feature flags: environments, flags and their OpenFeature evaluation (OFREP).",
        routers=(
            ofrep.router,
            streams.router,
            environments.router,
            documents.router,
            flags.router,
            definitions.router,
            history.router,
            schedules.router,
            segments.router,
            usage.router,
            promotions.router,
            imports.router,
            feed_router(outbox),
        ),
        lifespan=_lifespan,
        application_class=EvaluationDoor,
    )
    # At the end of the list, hence inside the middleware that bounds, names and measures every request.
    app.user_middleware.append(Middleware(ofrep.EvaluationShortcut))
    return app


def install(app: FastAPI, database: Database) -> None:
    """Put what requests need on `app.state`, around a pool that somebody else opens and closes."""

    @asynccontextmanager
    async def open_snapshots() -> AsyncIterator[SnapshotRepository]:
        async with database.session() as session:
            yield SnapshotRepository(session)

    store = SnapshotStore()
    app.state.database = database
    app.state.idempotency_table = idempotency_keys
    app.state.snapshot_store = store
    app.state.snapshot_refresher = SnapshotRefresher(store, open_snapshots)
    app.state.usage_counter = UsageCounter()
    app.state.evaluation_service = EvaluationService(store, app.state.usage_counter)
    _install_streams(app, store)
    app.state.readiness_checks = [
        # Without PostgreSQL flags are still evaluated: the replica stays in service and says what is missing.
        ReadinessCheck("database", database.ping, required=False),
        ReadinessCheck("snapshots", store.report),
    ]


def _install_streams(app: FastAPI, store: SnapshotStore) -> None:
    settings: FlagsSettings = app.state.settings
    bounds = StreamBounds(
        max_streams=settings.max_streams,
        max_streams_per_key=settings.max_streams_per_key,
        heartbeat_seconds=settings.stream_heartbeat_seconds,
        life_seconds=settings.stream_life_seconds,
    )
    app.state.streams = StreamHub(bounds)
    store.follow(app.state.streams.publish)
    app.state.announcer = Announcer(
        StreamTokenSigner(settings.service_name, PrincipalKeys(settings.principal_keys)),
        life_seconds=settings.stream_token_seconds,
        inactivity_seconds=settings.stream_inactivity_seconds,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: FlagsSettings = app.state.settings
    database = Database(
        settings.database_url.get_secret_value(),
        application_name=settings.service_name,
        pool_size=settings.database_pool_size,
        statement_timeout_seconds=settings.database_statement_timeout_seconds,
    )
    install(app, database)
    refresher: SnapshotRefresher = app.state.snapshot_refresher
    try:
        await refresher.refresh()
    except UnavailableError:  # services start in any order: not ready until PostgreSQL is there
        _logger.warning("started_without_database")
    supervisor = Supervisor(_logger)
    try:
        async with NotificationListener(settings.database_url.get_secret_value()) as listener:
            app.state.notifications = listener
            poll_seconds = settings.snapshot_poll_seconds
            supervisor.start(
                "snapshots", lambda: follow_changes(refresher, listener, poll_seconds=poll_seconds)
            )
            schedule_poll = settings.schedule_poll_seconds
            supervisor.start("schedules", lambda: run_schedules(database, poll_seconds=schedule_poll))
            flush_seconds = settings.usage_flush_seconds
            counter: UsageCounter = app.state.usage_counter
            supervisor.start("usage", lambda: flush_usage(database, counter, interval_seconds=flush_seconds))
            hub: StreamHub = app.state.streams
            supervisor.start("streams", lambda: hub.run(lambda: app.state.is_draining))
            retention = timedelta(days=settings.usage_retention_days)
            supervisor.start("prune", lambda: prune(database, usage_retention=retention))
            try:
                yield
            finally:
                await supervisor.stop()
    finally:
        await database.dispose()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `undercroft-flags serve|migrate|openapi`."""
    run_command(FlagsSettings, create_app, package="undercroft.flags", arguments=arguments)
