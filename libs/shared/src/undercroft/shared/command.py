"""The command of one deployable: `undercroft-<name> serve|migrate|openapi`."""

import argparse
import asyncio
import gc
import shutil
import signal
import socket
import sys
import textwrap
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TypeVar

from fastapi import FastAPI
from pydantic import SecretStr
from typing_extensions import override
from uvicorn import Config, Server

from undercroft.shared import listeners
from undercroft.shared.listeners import ListenError
from undercroft.shared.logs import configure_logging
from undercroft.shared.serialization import dumps
from undercroft.shared.settings import (
    DatabaseSettings,
    ServiceSettings,
    SettingsError,
    describe_settings,
    load_settings,
)

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)

_IDLE_CONNECTION_SECONDS = 75


class CommandError(Exception):
    """The command cannot do what was asked; the message is one line that says what to do."""


def run_command(
    settings_class: type[SettingsT],
    create_app: Callable[[SettingsT], FastAPI],
    *,
    package: str,
    arguments: Sequence[str] | None = None,
) -> None:
    """Run the command line of a deployable and leave the process with its status.

    `package` is the deployable's import name (`undercroft.flags`), where its migrations are found.
    """
    parser = _parser(settings_class, package.replace(".", "-"))
    parsed = parser.parse_args(arguments)
    try:
        if parsed.command == "openapi":
            sys.stdout.buffer.write(dumps(create_app(placeholder_settings(settings_class)).openapi()) + b"\n")
            return
        settings = load_settings(settings_class)
        if parsed.command == "migrate":
            asyncio.run(_migrate(settings, package))
        else:
            _serve(settings, create_app, package)
    except (SettingsError, ListenError, CommandError) as error:
        sys.stderr.write(f"{package.replace('.', '-')}: {error}\n")
        raise SystemExit(1) from None


def placeholder_settings(settings_class: type[SettingsT]) -> SettingsT:
    """Return settings good enough to build the app without running it (its OpenAPI document, its routes)."""
    values: dict[str, object] = {"secret_key": SecretStr("0" * 32)}
    if issubclass(settings_class, DatabaseSettings):
        values["database_url"] = SecretStr("postgresql+asyncpg://nobody@localhost/nowhere")
    return load_settings(settings_class, **values)


def _parser(settings_class: type[ServiceSettings], program: str) -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    settings = _settings_help(settings_class)
    parser = argparse.ArgumentParser(
        prog=program, description=settings_class.__doc__, epilog=settings, formatter_class=style
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("serve", help="serve HTTP until told to stop", epilog=settings, formatter_class=style)
    commands.add_parser("openapi", help="print the OpenAPI document")
    if issubclass(settings_class, DatabaseSettings):
        commands.add_parser("migrate", help="bring the database schema up to this code's version")
    return parser


def _settings_help(settings_class: type[ServiceSettings]) -> str:
    """Write every setting with its default and meaning; defaults are the code's, so no secret is among them."""
    width = max(40, min(110, shutil.get_terminal_size().columns - 2))
    lines = [
        "settings, as environment variables or as lines of a file .env",
        "(NAME_FILE=/path takes the value of NAME from a file):",
    ]
    for each in describe_settings(settings_class):
        text = each.description
        if each.choices:
            text += f" One of {', '.join(each.choices)}."
        text += " Required." if each.default is None else f" Default: {each.default}"
        lines += [
            "",
            f"  {each.variable}",
            *textwrap.wrap(text, width, initial_indent="      ", subsequent_indent="      "),
        ]
    return "\n".join(lines)


async def _migrate(settings: ServiceSettings, package: str) -> None:
    from undercroft.shared.migrations import (
        MigrationError,
        upgrade_if_behind,
    )  # imports Alembic: only when asked

    if not isinstance(
        settings, DatabaseSettings
    ):  # pragma: no cover  the parser offers migrate to no one else
        raise CommandError("this deployable has no database")
    try:
        changed = await upgrade_if_behind(settings.database_url.get_secret_value(), package)
    except MigrationError as error:
        raise CommandError(str(error)) from error
    sys.stdout.write("migrated\n" if changed else "already up to date\n")


def _serve(settings: SettingsT, create_app: Callable[[SettingsT], FastAPI], package: str) -> None:
    configure_logging(
        log_format=settings.log_format, log_level=settings.log_level, service_name=settings.service_name
    )
    prefix = settings.model_config.get("env_prefix", "")
    names = listeners.Names(f"{prefix}HOST", f"{prefix}PORT")
    listeners.allow_many_connections()
    sockets = listeners.listen(settings.host, settings.port, names=names)
    try:
        if isinstance(settings, DatabaseSettings):
            asyncio.run(_require_current_schema(settings, package))
        app = create_app(settings)
        config = server_config(app, host=settings.host, port=settings.port)
        config.timeout_graceful_shutdown = settings.stop_grace_seconds
        _DrainingServer(config, app).run(sockets)
    except SystemExit:  # Uvicorn's way of saying that the application could not start
        raise CommandError("could not start: the log above says why") from None
    finally:
        listeners.close(sockets)


async def _require_current_schema(settings: DatabaseSettings, package: str) -> None:
    from undercroft.shared.migrations import MigrationError, require_current

    try:
        await require_current(settings.database_url.get_secret_value(), package)
    except MigrationError as error:
        raise CommandError(str(error)) from error


class _DrainingServer(Server):
    """Uvicorn, telling the application of a stop at once: long polls end instead of holding it up."""

    def __init__(self, config: Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What was imported and built stays: from here on the collector need not look at it.
        gc.collect()
        gc.freeze()

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Uvicorn would raise the signal again at the end, and a clean stop would look like a crash.
        self._app.state.is_draining = True
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def server_config(app: FastAPI, *, host: str, port: int) -> Config:
    """Return the one Uvicorn configuration that every mode uses: bounded, quiet, without default headers."""
    return Config(
        app,
        host=host,
        port=port,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=listeners.BACKLOG,
        timeout_keep_alive=_IDLE_CONNECTION_SECONDS,
        h11_max_incomplete_event_size=64 * 1024,
    )
