"""The composition root of the one-process mode: settings, applications and their lifespans, wired together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI

from undercroft.launcher.data_directory import MAIL_DIRECTORY
from undercroft.launcher.database_servers import DatabaseServer
from undercroft.launcher.deployables import GATEWAY, IDENTITY, Deployable
from undercroft.launcher.derived_secrets import DerivedSecrets
from undercroft.launcher.options import UpOptions
from undercroft.launcher.screen import browsable_url
from undercroft.shared.http_client import AsgiApp, InProcessTransport
from undercroft.shared.logs import get_logger
from undercroft.shared.settings import ServiceSettings, load_settings

_LIFESPAN_EXIT_SECONDS: Final = 0.7

_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the launcher brings that every deployable's settings are made from."""

    options: UpOptions
    server: DatabaseServer
    secrets: DerivedSecrets


def load_all_settings(
    deployables: Sequence[Deployable], surroundings: Surroundings
) -> dict[str, ServiceSettings]:
    """Load every deployable's settings: what the launcher decides, for the rest the environment.

    Raises `SettingsError`.
    """
    return {
        each.name: load_settings(each.load_settings_class(), **_decided(each, surroundings))
        for each in deployables
    }


def _decided(deployable: Deployable, surroundings: Surroundings) -> dict[str, object]:
    options, server, secrets = surroundings.options, surroundings.server, surroundings.secrets
    name = deployable.name
    values: dict[str, object] = {f"{other}_url": f"http://{other}" for other in deployable.calls}
    values["secret_key"] = secrets.secret_key(name)
    values["principal_keys"] = secrets.principal_keys(name)
    if deployable.has_database:
        values["database_url"] = server.role_url(name, secrets.database_password(name))
    if options.log_format is not None:
        values["log_format"] = options.log_format
    if options.redis_url is not None:
        values["redis_url"] = options.redis_url
    if name in {GATEWAY, IDENTITY}:  # who issues tokens and who verifies them name each other by it
        values["issuer"] = options.public_url or browsable_url(options.host, options.port)
    if name == IDENTITY:
        values["mail_directory"] = options.data_directory / MAIL_DIRECTORY
    if name == GATEWAY:
        values |= {"host": options.host, "port": options.port}
    else:
        values["access_log"] = False  # the gateway logs the one line of a request
    return values


@contextlib.asynccontextmanager
async def open_platform(
    deployables: Sequence[Deployable], settings: Mapping[str, ServiceSettings]
) -> AsyncIterator[dict[str, FastAPI]]:
    """Build every application, by name, and hold its lifespan open, in the order of the list.

    An application can be called from the moment its lifespan is entered until it is left; leaving is in the reverse
    order and bounded, so that one that hangs cannot keep the others, or the database, from stopping.
    """
    reachable: dict[str, AsgiApp] = {}
    transport = InProcessTransport(reachable)
    apps = {
        each.name: each.load_create_app()(settings[each.name], transport=transport) for each in deployables
    }
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(transport.aclose)
        for name, app in apps.items():
            await stack.enter_async_context(_open(name, app))
            reachable[name] = app
            stack.callback(reachable.pop, name)
        yield apps


@contextlib.asynccontextmanager
async def _open(name: str, app: FastAPI) -> AsyncIterator[None]:
    lifespan = app.router.lifespan_context(app)
    await lifespan.__aenter__()
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(_LIFESPAN_EXIT_SECONDS):
                await lifespan.__aexit__(None, None, None)
        except Exception:  # the others are still to be closed
            _logger.exception("deployable_did_not_stop", deployable=name)
