"""The identity service, put together. Nothing happens at import."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.middleware import Middleware

from undercroft.identity.clients.mail import make_sender
from undercroft.identity.dependencies.accounts import close_accounts, install_accounts
from undercroft.identity.dependencies.api_keys import operator_key_service
from undercroft.identity.dependencies.callers import utc_now
from undercroft.identity.dependencies.oauth.server import install_oauth
from undercroft.identity.dependencies.signing import key_ring
from undercroft.identity.dependencies.tokens import install_tokens
from undercroft.identity.models.base import idempotency_keys, outbox
from undercroft.identity.repository.reads import PreparedReads, SessionReads
from undercroft.identity.routes import (
    api_keys,
    grants,
    internal,
    links,
    me,
    members,
    oauth_clients,
    organizations,
    second_factors,
    sessions,
    users,
)
from undercroft.identity.routes.hot_paths import HotPaths
from undercroft.identity.routes.oauth import authorize, consent_page, device_page, logout
from undercroft.identity.routes.oauth.shortcut import PROTOCOL, ProtocolShortcut
from undercroft.identity.routes.pages import account, assets, joining, passwords, sign_in
from undercroft.identity.routes.pages import second_factors as second_factor_pages
from undercroft.identity.routes.turnstile import Turnstile
from undercroft.identity.service.signing import COMMAND_ACTOR
from undercroft.identity.service.verification import LastUses
from undercroft.identity.settings import IdentitySettings
from undercroft.identity.worker.accounts import keep_pruning_accounts
from undercroft.identity.worker.api_keys import (
    keep_writing_last_uses,
    register_operator_key,
    write_last_words,
)
from undercroft.identity.worker.mails import MailRoom, keep_sending_mails
from undercroft.identity.worker.own_events import follow_own_events, keep_keys_current, refresh_memory
from undercroft.identity.worker.pruning import keep_pruning
from undercroft.shared.app import create_service_app
from undercroft.shared.command import run_command
from undercroft.shared.db import Database
from undercroft.shared.errors import ServiceError, UnavailableError
from undercroft.shared.events.feed import feed_router
from undercroft.shared.health import ReadinessCheck
from undercroft.shared.ids import new_uuid7
from undercroft.shared.logs import get_logger
from undercroft.shared.notifications import NotificationListener
from undercroft.shared.serialization import format_timestamp
from undercroft.shared.settings import SettingsError, load_settings
from undercroft.shared.tokens import TokenMode, mint_token
from undercroft.shared.workers import Supervisor

_logger = get_logger(__name__)


def create_app(settings: IdentitySettings, *, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """Build the service; `transport` is part of every deployable's signature, this one calls nobody."""
    del transport
    app = create_service_app(
        settings,
        description="Organizations and API keys: who is calling, and on whose behalf.",
        # The router tries routes in order: first those that many may ask for at once.
        routers=(
            sessions.router,
            sign_in.router,
            internal.router,
            organizations.router,
            api_keys.organization_router,
            api_keys.operator_router,
            me.router,
            second_factors.totp,
            second_factors.passkeys,
            users.router,
            links.password_resets,
            links.email_verifications,
            members.members,
            members.member,
            members.invitations,
            members.invitation_links,
            assets.router,
            joining.router,
            passwords.router,
            account.router,
            second_factor_pages.router,
            oauth_clients.router,
            grants.router,
            *PROTOCOL,
            authorize.router,
            consent_page.router,
            device_page.router,
            logout.router,
            logout.pages,
            feed_router(outbox),
        ),
        lifespan=_lifespan,
        application_class=HotPaths,
    )
    # At the end of the list, hence inside the middleware that bounds, names and measures every request.
    app.user_middleware.extend((Middleware(ProtocolShortcut), Middleware(Turnstile)))
    return app


def install(app: FastAPI, database: Database, *, database_of_keys: Database | None = None) -> None:
    """Put what requests need on `app.state`, around a pool that somebody else opens and closes.

    `database_of_keys` is where signing keys are read, when it is not by a connection of that pool.
    """
    app.state.database = database
    app.state.clock = utc_now
    app.state.idempotency_table = idempotency_keys
    app.state.reads = SessionReads(database)
    app.state.last_uses = LastUses()
    app.state.key_ring = key_ring(app.state.settings, database_of_keys or database)
    install_tokens(app)
    install_accounts(app)
    install_oauth(app)
    app.state.readiness_checks = [ReadinessCheck("database", database.ping)]


async def ensure_operator_key(database: Database, mode: TokenMode = "live") -> SecretStr | None:
    """Make an operator key when there is none; its secret is returned this once, None when there is one."""
    async with database.begin() as session:
        secret = await operator_key_service(session).ensure(mode)
    return None if secret is None else SecretStr(secret)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: IdentitySettings = app.state.settings
    database = open_database(settings)
    # Requests that hold every connection of the pool may be waiting for the keys.
    database_of_keys = open_database(settings, pool_size=1)
    install(app, database, database_of_keys=database_of_keys)
    reads = PreparedReads(settings.database_url.get_secret_value(), size=settings.database_pool_size)
    app.state.reads = reads
    try:
        await app.state.key_ring.refresh()
    except (
        UnavailableError
    ):  # services start in any order: the worker reads the keys when PostgreSQL is there
        _logger.warning("started without database")
    try:
        async with NotificationListener(settings.database_url.get_secret_value()) as listener:
            app.state.notifications = listener
            supervisor = _start_workers(settings, database, app.state.last_uses)
            _follow_own_events(app, supervisor)
            _look_after_accounts(app, supervisor)
            try:
                yield
            finally:
                await supervisor.stop()
                await write_last_words(database, app.state.last_uses)
    finally:
        await close_accounts(app)
        await reads.close()
        await database_of_keys.dispose()
        await database.dispose()


def open_database(settings: IdentitySettings, *, pool_size: int | None = None) -> Database:
    """Return the pool that the settings describe, or one of another size."""
    return Database(
        settings.database_url.get_secret_value(),
        application_name=settings.service_name,
        pool_size=pool_size or settings.database_pool_size,
        statement_timeout_seconds=settings.database_statement_timeout_seconds,
    )


def _start_workers(settings: IdentitySettings, database: Database, last_uses: LastUses) -> Supervisor:
    supervisor = Supervisor(_logger)
    interval = settings.last_used_flush_seconds
    supervisor.start(
        "last-uses", lambda: keep_writing_last_uses(database, last_uses, interval_seconds=interval)
    )
    supervisor.start("prune", lambda: keep_pruning(database))
    operator_key = settings.operator_key
    if operator_key is not None:
        supervisor.start("operator-key", lambda: register_operator_key(database, operator_key))
    return supervisor


def _follow_own_events(app: FastAPI, supervisor: Supervisor) -> None:
    state = app.state
    supervisor.start("signing-keys", lambda: keep_keys_current(state.key_ring))
    supervisor.start(
        "own-events",
        lambda: follow_own_events(
            state.database, state.notifications, lambda events: refresh_memory(state, events)
        ),
    )


def _look_after_accounts(app: FastAPI, supervisor: Supervisor) -> None:
    settings: IdentitySettings = app.state.settings
    supervisor.start("prune-accounts", lambda: keep_pruning_accounts(app))
    room = MailRoom(app.state.database, settings, make_sender(settings.smtp_url, settings.mail_directory))
    supervisor.start("mails", lambda: keep_sending_mails(room, app.state.notifications))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `undercroft-identity serve|migrate|openapi|operator-key|keys`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["operator-key"]:
        _operator_key_command(given[1:])
    elif given[:1] == ["keys"]:
        _keys_command(given[1:])
    else:
        run_command(IdentitySettings, create_app, package="undercroft.identity", arguments=given)


def _operator_key_command(arguments: Sequence[str]) -> None:
    """Make an operator key for whoever lost the first one, or for a deployment that brings its own."""
    parser = argparse.ArgumentParser(
        prog="undercroft-identity operator-key", description="Make an operator key."
    )
    parser.add_argument(
        "--print-only",
        action="store_true",
        help="touch no database; give the key to the service as IDENTITY_OPERATOR_KEY",
    )
    if parser.parse_args(arguments).print_only:
        sys.stdout.write(mint_token("live", new_uuid7()).text + "\n")
        return
    try:
        sys.stdout.write(asyncio.run(_create_operator_key()) + "\n")
    except (SettingsError, ServiceError) as error:
        sys.stderr.write(f"undercroft-identity: {error}\n")
        raise SystemExit(1) from None


async def _create_operator_key() -> str:
    settings = load_settings(IdentitySettings)
    database = open_database(settings)
    try:
        async with database.begin() as session:
            return await operator_key_service(session).create(settings.key_mode, name="Operator key")
    finally:
        await database.dispose()


def _keys_command(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="undercroft-identity keys", description="The keys that tokens are signed with."
    )
    parser.add_argument("action", choices=("rotate", "list"))
    action = parser.parse_args(arguments).action
    try:
        lines = asyncio.run(signing_keys(load_settings(IdentitySettings), rotate=action == "rotate"))
    except (SettingsError, ServiceError) as error:
        sys.stderr.write(f"undercroft-identity: {error}\n")
        raise SystemExit(1) from None
    sys.stdout.write("".join(f"{line}\n" for line in lines))


async def signing_keys(settings: IdentitySettings, *, rotate: bool) -> list[str]:
    """List the signing keys, one a line, after publishing new ones if asked; running replicas follow at once."""
    database = open_database(settings)
    ring = key_ring(settings, database)
    try:
        await (ring.rotate(actor=COMMAND_ACTOR) if rotate else ring.refresh())
    finally:
        await database.dispose()
    return [
        f"{key.kid}  {key.algorithm}  signs from {format_timestamp(key.life.signs_from)}"
        f" until {format_timestamp(key.life.signs_until)}"
        for key in ring.held()
    ]
