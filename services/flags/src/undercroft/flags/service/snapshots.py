"""What this replica evaluates: an immutable snapshot of every environment, swapped whole.

A snapshot is read from memory only. While PostgreSQL is away the last one stays in use; its age tells since when.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from undercroft.flags.domain.flag_set import FlagSet, load_flag_set
from undercroft.flags.errors import SnapshotMissingError
from undercroft.flags.repository.snapshots import Horizon, SnapshotRepository, StoredChanges, StoredFlags

OpenRepository = Callable[[], AbstractAsyncContextManager[SnapshotRepository]]

# What a refresh compiles before its answer; the rest of a large environment follows in pieces of this size.
COMPILED_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One environment as of one version; ``horizon`` is where the next reading of its changes begins."""

    environment_id: UUID
    key: str
    version: int
    flags: FlagSet
    horizon: Horizon

    def advanced(self, changes: StoredChanges) -> "Snapshot | None":
        """Return the snapshot with what has changed since; None where only reading all of it can tell."""
        flags = self.flags.replaced(changes.definitions, without=changes.archived)
        if (
            len(flags) != changes.number
        ):  # definitions were deleted: nothing is left of them that could be read
            return None
        return Snapshot(self.environment_id, changes.key, changes.version, flags, changes.horizon)


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
    """Brings the store up to the database: reads and compiles only what changed since the last time."""

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
                current = [
                    snapshot
                    for environment_id, snapshot in held.items()
                    if versions.get(environment_id) == snapshot.version
                ]
                known = {snapshot.environment_id for snapshot in current}
                missing: list[UUID] = []
                for environment_id in versions.keys() - known:
                    advanced = await _advance(repository, held.get(environment_id))
                    if advanced is None:
                        missing.append(environment_id)
                    else:
                        current.append(advanced)
                stored = await repository.load(missing) if missing else ()
            # Compiling hundreds of flags in the event loop would hold up every evaluation meanwhile.
            loaded = [await asyncio.to_thread(_load, each, held.get(each.environment_id)) for each in stored]
            for snapshot in (*current, *loaded):
                if snapshot.environment_id not in known:
                    await asyncio.to_thread(snapshot.flags.prepare, COMPILED_AT_ONCE)
            self._store.swap([*current, *loaded])

    async def compile_ahead(self) -> bool:
        """Compile some of what no evaluation has asked for yet, and tell whether there is more.

        Evaluations go on meanwhile, and compile what they need themselves.
        """
        for snapshot in self._store.all():
            if not await asyncio.to_thread(snapshot.flags.prepare, COMPILED_AT_ONCE):
                return True
        return False


async def _advance(repository: SnapshotRepository, held: Snapshot | None) -> Snapshot | None:
    if held is None:
        return None
    changes = await repository.changes(held.environment_id, held.horizon)
    return None if changes is None else await asyncio.to_thread(held.advanced, changes)


def _load(stored: StoredFlags, previous: Snapshot | None) -> Snapshot:
    flags = load_flag_set(
        stored.frame, stored.definitions, previous=None if previous is None else previous.flags
    )
    return Snapshot(stored.environment_id, stored.key, stored.version, flags, stored.horizon)
