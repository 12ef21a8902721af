"""Times of last use of API keys, and the operator key of the settings."""

import asyncio

from pydantic import SecretStr

from undercroft.identity.dependencies.api_keys import operator_key_service
from undercroft.identity.repository.api_keys import ApiKeyRepository
from undercroft.identity.service.verification import LastUses
from undercroft.shared.db import Database
from undercroft.shared.errors import UnavailableError
from undercroft.shared.logs import get_logger

_logger = get_logger(__name__)


async def write_last_uses(database: Database, last_uses: LastUses) -> None:
    """Write the remembered times of last use in one statement; they are kept when that fails."""
    taken = last_uses.take()
    if not taken:
        return
    try:
        async with database.begin() as session:
            await ApiKeyRepository(session).record_use(taken)
    except BaseException:
        last_uses.put_back(taken)
        raise


async def write_last_words(database: Database, last_uses: LastUses) -> None:
    """Write them a last time; a stop never waits for a database that is away."""
    try:
        await write_last_uses(database, last_uses)
    except UnavailableError:
        _logger.warning("times of last use are lost", keys=len(last_uses.take()))


async def keep_writing_last_uses(database: Database, last_uses: LastUses, *, interval_seconds: float) -> None:
    """Write times of last use at each interval; for ever."""
    while True:
        await asyncio.sleep(interval_seconds)
        await write_last_uses(database, last_uses)


async def register_operator_key(database: Database, secret: SecretStr) -> None:
    """Register the settings' operator key and rest; the supervisor tries again while the database is away."""
    async with database.begin() as session:
        if await operator_key_service(session).register(secret.get_secret_value()):
            _logger.info("operator key of the settings registered")
    await asyncio.Event().wait()
