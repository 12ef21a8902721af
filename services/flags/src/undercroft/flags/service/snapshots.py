"""What this replica evaluates: an immutable snapshot of every environment, swapped whole.

A snapshot is read from memory only. While PostgreSQL is away the last one stays in use; its age tells since when.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from uuid import UUID

from undercroft.flags.domain.flag_set import FlagSet, compile_flag_set
from undercroft.flags.errors import SnapshotMissingError
from undercroft.flags.repository.snapshots import SnapshotRepository, StoredFlags
from undercroft.shared.serialization import loads

OpenRepository = Callable[[], AbstractAsyncContextManager[SnapshotRepository]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One environment, compiled as of one version."""

    environment_id: UUID
    key: str
    version: int
    flags: FlagSet


Follower = Callable[[Sequence[Snapshot]], None]


class SnapshotStore:
    """Holds the snapshots that requests evaluate."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_key: Mapping[str, Snapshot] = {}
        self._confirmed_at: float | None = None
        self._followers: list[Follower] = []

    def follow(self, follower: Follower) -> None:
        """Let somebody know all snapshots, now and whenever they are swapped."""
        self._followers.append(follower)
        follower(self.all())

    def find(self, environment: str) -> Snapshot | None:
        """Return an environment's snapshot; raises `SnapshotMissingError` before the first was read."""
        if self._confirmed_at is None:
            raise SnapshotMissingError("This replica has not read its flags yet.")
        return self._by_key.get(environment)

    def all(self) -> Sequence[Snapshot]:
        """Return the snapshots in use."""
        return tuple(self._by_key.values())

    def swap(self, snapshots: Sequence[Snapshot]) -> None:
        """Use these from now on; they are what the database says now."""
        self._by_key = {snapshot.key: snapshot for snapshot in snapshots}
        self._confirmed_at = self._clock()
        for follower in self._followers:
            follower(self.all())

    async def report(self) -> dict[str, object]:
        """Tell the age of what is in use, in seconds since the database last confirmed it, and the versions."""
        if self._confirmed_at is None:
            raise SnapshotMissingError("This replica has not read its flags yet.")
        return {
            "ageSeconds": round(self._clock() - self._confirmed_at, 3),
            "versions": {snapshot.key: snapshot.version for snapshot in self.all()},
        }


class SnapshotRefresher:
    """Brings the store up to the database: reads and compiles only environments whose version changed."""

    def __init__(self, store: SnapshotStore, open_repository: OpenRepository) -> None:
        self._store = store
        self._open = open_repository
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Make everything that was committed before this call visible here; raises `UnavailableError`."""
        async with self._lock:
            held = {snapshot.environment_id: snapshot for snapshot in self._store.all()}
            async with self._open() as repository:
                versions = await repository.versions()
                changed = [
                    environment_id
                    for environment_id, version in versions.items()
                    if environment_id not in held or held[environment_id].version != version
                ]
                stored = await repository.load(changed) if changed else ()
            kept = [held[environment_id] for environment_id in versions if environment_id not in changed]
            # Compiling thousands of flags in the event loop would hold up every evaluation meanwhile.
            compiled = [
                await asyncio.to_thread(_compile, each, held.get(each.environment_id)) for each in stored
            ]
            self._store.swap([*kept, *compiled])


def _compile(stored: StoredFlags, previous: Snapshot | None) -> Snapshot:
    flags = {key: loads(content) for key, content in stored.definitions.items()}
    document: dict[str, object] = {**stored.frame, "flags": flags}
    flag_set = compile_flag_set(document, previous=previous.flags if previous else None)
    return Snapshot(stored.environment_id, stored.key, stored.version, flag_set)
