"""`undercroft keys`: the keys that tokens are signed with, on the embedded database or one given by URL."""

import asyncio
import sys

from undercroft.launcher.data_directory import DataDirectory
from undercroft.launcher.database import provision
from undercroft.launcher.database_servers import DatabaseServer, choose_server, running
from undercroft.launcher.deployables import DEPLOYABLES, IDENTITY, with_database
from undercroft.launcher.derived_secrets import DerivedSecrets
from undercroft.launcher.options import KeysOptions
from undercroft.shared import migrations
from undercroft.shared.settings import load_settings


def run(options: KeysOptions) -> None:
    """List or rotate the signing keys; raises the errors that `errors.explain` knows."""
    directory = DataDirectory(options.data_directory)
    secrets = DerivedSecrets(directory.master_secret(), [each.name for each in DEPLOYABLES])
    with running(choose_server(directory, options.database_url)) as server:
        lines = asyncio.run(_signing_keys(options, secrets, server))
    sys.stdout.write("".join(f"{line}\n" for line in lines))


async def _signing_keys(options: KeysOptions, secrets: DerivedSecrets, server: DatabaseServer) -> list[str]:
    # Heavy, and of no use to the other commands.
    from undercroft.identity.main import signing_keys
    from undercroft.identity.settings import IdentitySettings

    await provision(server, {each.name: secrets.database_password(each.name) for each in with_database()})
    url = server.role_url(IDENTITY, secrets.database_password(IDENTITY))
    await migrations.upgrade_if_behind(url, f"undercroft.{IDENTITY}")
    settings = load_settings(IdentitySettings, secret_key=secrets.secret_key(IDENTITY), database_url=url)
    return await signing_keys(settings, rotate=options.action == "rotate")
