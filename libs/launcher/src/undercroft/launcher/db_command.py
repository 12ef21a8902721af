"""`undercroft db`: the migrations of the services, on the embedded database or one given by URL."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from undercroft.launcher.data_directory import DataDirectory
from undercroft.launcher.database import provision
from undercroft.launcher.database_servers import DatabaseServer, choose_server, running
from undercroft.launcher.deployables import DEPLOYABLES, Deployable, find, with_database
from undercroft.launcher.derived_secrets import DerivedSecrets
from undercroft.launcher.options import HEADS, DbOptions
from undercroft.shared import migrations


def run(options: DbOptions) -> None:
    """Do what was asked for one service or each; raises the errors that `errors.explain` knows."""
    services = find(options.service)
    match options.action:
        case "history":
            for each in services:
                _say(f"{each.name}:\n{migrations.history(each.package).rstrip()}")
        case "merge":
            _say_written(migrations.merge(services[0].package, options.message))
        case _:
            _with_database(options, services)


def _with_database(options: DbOptions, services: tuple[Deployable, ...]) -> None:
    directory = DataDirectory(options.data_directory)
    secrets = DerivedSecrets(directory.master_secret(), [each.name for each in DEPLOYABLES])
    passwords = {each.name: secrets.database_password(each.name) for each in with_database()}
    with running(choose_server(directory, options.database_url)) as server:
        asyncio.run(_act_on_each(options, services, server, passwords))


async def _act_on_each(
    options: DbOptions, services: tuple[Deployable, ...], server: DatabaseServer, passwords: Mapping[str, str]
) -> None:
    await provision(server, passwords)
    for each in services:
        await _act(options, each, server.role_url(each.name, passwords[each.name]))


async def _act(options: DbOptions, service: Deployable, url: str) -> None:
    match options.action:
        case "upgrade" if options.revision == HEADS:
            changed = await migrations.upgrade_if_behind(url, service.package)
            _say(f"{service.name}: {'migrated' if changed else 'already up to date'}")
        case "upgrade":
            await migrations.upgrade(url, service.package, options.revision)
            _say(f"{service.name}: migrated to {options.revision}")
        case "downgrade":
            await migrations.downgrade(url, service.package, options.revision)
            _say(f"{service.name}: migrated back to {options.revision}")
        case "revision":
            written = await migrations.revision(
                url, service.package, options.message, autogenerate=not options.is_empty
            )
            _say_written(written)
        case _:
            await migrations.check(url, service.package)
            _say(f"{service.name}: models and migrations agree")


def _say_written(paths: list[Path]) -> None:
    for path in paths:
        _say(f"wrote {path}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
