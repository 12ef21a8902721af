"""How the key ring comes to its keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from undercroft.identity.dependencies.callers import utc_now
from undercroft.identity.domain.sealing import Sealer
from undercroft.identity.domain.signing_keys import RotationPolicy
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.signing_keys import SigningKeyRepository
from undercroft.identity.service.signing import KeyRing, SigningKeyRepositories, generate_key
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.db import Database
from undercroft.shared.settings import derive_key

# No token lives longer than an hour; the rest is for clocks that differ.
_RETENTION: Final = timedelta(hours=1, minutes=10)


def key_ring(settings: IdentitySettings, database: Database) -> KeyRing:
    """Build the ring of a replica; it reads its keys when the first is needed."""

    @asynccontextmanager
    async def open_repositories() -> AsyncIterator[SigningKeyRepositories]:
        async with database.begin() as session:
            yield SigningKeyRepositories(SigningKeyRepository(session), EventRepository(session))

    sealer = Sealer(derive_key(settings.secret_key, "signing keys"))
    policy = rotation_policy(settings)
    return KeyRing(open_repositories, sealer, policy, clock=utc_now, make_key=generate_key)


def rotation_policy(settings: IdentitySettings) -> RotationPolicy:
    """Return what settings say about the life of keys."""
    return RotationPolicy(
        period=timedelta(days=settings.signing_key_days),
        overlap=timedelta(seconds=settings.signing_key_overlap_seconds),
        retention=_RETENTION,
    )
