"""The operator key of this data directory, made through identity's use cases."""

from fastapi import FastAPI
from pydantic import SecretStr

from undercroft.identity.dependencies.api_keys import operator_key_service
from undercroft.identity.settings import IdentitySettings
from undercroft.launcher.data_directory import DataDirectory
from undercroft.shared.db import Database


async def ensure_operator_key(directory: DataDirectory, identity: FastAPI) -> SecretStr | None:
    """Make an operator key where the database or the data directory has none; return it, this once, or None.

    `identity` is the running application. Raises `DataDirectoryUnusableError`.
    """
    settings: IdentitySettings = identity.state.settings
    database: Database = identity.state.database
    async with database.begin() as session:
        keys = operator_key_service(session)
        secret = await keys.ensure(settings.key_mode)
        if secret is None and directory.operator_key.exists():
            return None
        secret = secret or await keys.create(settings.key_mode, name="Operator key of a new data directory")
        # Before the commit, because only a hash is kept: a launcher killed in between leaves a file that the next
        # start replaces, and never a platform whose key nobody knows.
        directory.write_operator_key(secret)
    return SecretStr(secret)
