"""What happens in the event loop of `undercroft up`: from a database that answers to a clean stop."""

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import uvloop
from fastapi import FastAPI
from pydantic import SecretStr

from undercroft.launcher.composition import Surroundings, load_all_settings, open_platform
from undercroft.launcher.data_directory import DataDirectory
from undercroft.launcher.database import provision
from undercroft.launcher.database_servers import DatabaseServer
from undercroft.launcher.deployables import DEPLOYABLES, GATEWAY, IDENTITY, with_database
from undercroft.launcher.derived_secrets import DerivedSecrets
from undercroft.launcher.operator_key import ensure_operator_key
from undercroft.launcher.options import UpOptions
from undercroft.launcher.screen import Screen, Whereabouts, browsable_url
from undercroft.launcher.serving import GatewayServer, StopSignals
from undercroft.shared.logs import configure_logging, get_logger
from undercroft.shared.migrations import upgrade_if_behind
from undercroft.shared.settings import ServiceSettings
from undercroft.shared.workers import Supervisor

_DATABASE_CHECK_SECONDS: Final = 1.0
_SUPERVISOR_STOP_SECONDS: Final = 0.5

_logger = get_logger(__name__)


class Run:
    """One run of `up`. Making it loads every setting, so that a wrong one is told before the database answers."""

    def __init__(
        self,
        options: UpOptions,
        *,
        directory: DataDirectory,
        server: DatabaseServer,
        screen: Screen,
        sockets: list[socket.socket],
        started: float,
    ) -> None:
        """Prepare; `options.port` is the port of the sockets. Raises `SettingsError`, `DataDirectoryUnusableError`."""
        self._options = options
        self._directory = directory
        self._server = server
        self._screen = screen
        self._sockets = sockets
        self._started = started
        self._secrets = DerivedSecrets(directory.master_secret(), [each.name for each in DEPLOYABLES])
        self._settings = load_all_settings(DEPLOYABLES, Surroundings(options, server, self._secrets))

    def __call__(self, *, is_stopping: Callable[[], bool]) -> None:
        """Run the platform in a loop of its own until it is told to stop, which may have happened already."""
        _configure_logging(self._settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run(is_stopping))

    async def _run(self, is_stopping: Callable[[], bool]) -> None:
        stop = StopSignals(force=partial(self._server.stop, 1))
        stop.install()
        if is_stopping():
            return
        if self._options.lifeline_fd is not None:
            stop.watch_lifeline(self._options.lifeline_fd)
        try:
            await self._start_and_serve(stop)
        except asyncio.CancelledError:
            if not stop.is_requested:
                raise

    async def _start_and_serve(self, stop: StopSignals) -> None:
        await set_up_database(self._server, self._secrets, self._screen)
        supervisor = Supervisor(_logger)
        async with open_platform(DEPLOYABLES, self._settings) as apps:
            key = await ensure_operator_key(self._directory, apps[IDENTITY])
            supervisor.start("database", partial(_keep_database, self._server))
            try:
                await self._serve(stop, apps[GATEWAY], key)
            finally:
                await supervisor.stop(_SUPERVISOR_STOP_SECONDS)

    async def _serve(self, stop: StopSignals, app: FastAPI, key: SecretStr | None) -> None:
        def on_started() -> None:
            # What was imported and built stays: from here on the collector need not look at it.
            gc.freeze()
            gc.enable()
            self._screen.show(self._whereabouts(key))

        server = GatewayServer(app, host=self._options.host, port=self._options.port, on_started=on_started)
        stop.serve(server)
        await server.serve(self._sockets)

    def _whereabouts(self, key: SecretStr | None) -> Whereabouts:
        return Whereabouts(
            url=self._options.public_url or browsable_url(self._options.host, self._options.port),
            data_directory=self._directory.path,
            database=self._server.place,
            operator_key_file=self._directory.operator_key,
            operator_key=key.get_secret_value() if key else None,
            seconds=time.monotonic() - self._started,
        )


def _configure_logging(settings: Mapping[str, ServiceSettings]) -> None:
    # One output: the gateway's settings decide. Each name is made known, so that lines tell the services apart.
    decisive = settings[GATEWAY]
    logging.getLogger("alembic").setLevel(logging.WARNING)  # the screen tells what is migrated
    for name in settings:
        configure_logging(log_format=decisive.log_format, log_level=decisive.log_level, service_name=name)


async def set_up_database(server: DatabaseServer, secrets: DerivedSecrets, screen: Screen) -> None:
    """Make roles and schemas where they are missing, and migrate every schema as its own role.

    Raises `DatabaseUnusableError` and `MigrationError`.
    """
    passwords = {each.name: secrets.database_password(each.name) for each in with_database()}
    await provision(server, passwords)
    for each in with_database():
        # One after the other: Alembic keeps the migration that runs in module globals.
        with screen.step(f"Migrating {each.name}", is_shown=server.was_new):
            await upgrade_if_behind(server.role_url(each.name, passwords[each.name]), each.package)


async def _keep_database(server: DatabaseServer) -> None:
    """Start the database again when it ended by itself: committed data survive whatever killed it."""
    while True:
        await asyncio.sleep(_DATABASE_CHECK_SECONDS)
        if not server.is_running:
            _logger.error("database_ended", advice="it is started again")
            server.stop()
            server.start()
            await asyncio.to_thread(server.wait_ready)
