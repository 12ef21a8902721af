"""Which environments are read and compiled again, with a repository in memory."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest

from undercroft.flags.errors import SnapshotMissingError
from undercroft.flags.repository.snapshots import Horizon, StoredChanges, StoredFlags
from undercroft.flags.service.snapshots import SnapshotRefresher, SnapshotStore
from undercroft.shared.ids import new_uuid7

ON = '{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on"}'
OFF = '{"state":"DISABLED","variants":{"on":true},"defaultVariant":"on"}'


class StoredEnvironments:
    """Environments in memory, and which of them were read."""

    def __init__(self, *keys: str) -> None:
        self.stored = {key: self.environment(key, 1) for key in keys}
        self.loaded: list[str] = []
        self.is_telling = True
        self.number = 1

    @staticmethod
    def environment(key: str, version: int, *, environment_id: UUID | None = None) -> StoredFlags:
        return StoredFlags(
            environment_id=environment_id or new_uuid7(),
            key=key,
            version=version,
            horizon=Horizon(version, ""),
            frame={"flags": {}},
            definitions={"switch": ON},
        )

    def change(self, key: str) -> None:
        before = self.stored[key]
        self.stored[key] = self.environment(key, before.version + 1, environment_id=before.environment_id)

    async def versions(self) -> Mapping[UUID, int]:
        return {each.environment_id: each.version for each in self.stored.values()}

    async def load(self, environment_ids: Collection[UUID]) -> Sequence[StoredFlags]:
        found = [each for each in self.stored.values() if each.environment_id in environment_ids]
        self.loaded += [each.key for each in found]
        return found

    async def changes(self, environment_id: UUID, since: Horizon) -> StoredChanges | None:
        (found,) = [each for each in self.stored.values() if each.environment_id == environment_id]
        if not self.is_telling:
            return None
        return StoredChanges(
            key=found.key,
            version=found.version,
            horizon=found.horizon,
            definitions={} if found.version == since.transaction else {"switch": OFF},
            archived=(),
            number=self.number,
        )


def refresher_of(stored: StoredEnvironments, store: SnapshotStore) -> SnapshotRefresher:
    @asynccontextmanager
    async def open_repository() -> AsyncIterator[StoredEnvironments]:
        yield stored

    return SnapshotRefresher(store, open_repository)  # type: ignore[arg-type]  # a repository by other means


async def test_only_changed_environments_are_read_again():
    stored, store = StoredEnvironments("production", "staging"), SnapshotStore()
    refresher = refresher_of(stored, store)
    await refresher.refresh()
    kept = store.find("staging")
    stored.loaded.clear()
    stored.change("production")
    await refresher.refresh()
    assert stored.loaded == []
    assert store.find("staging") is kept
    changed = store.find("production")
    assert changed is not None
    assert (changed.version, changed.flags.evaluate("switch", {}, now=0).reason) == (2, "DISABLED")


@pytest.mark.parametrize("obstacle", ["a change that only the whole shows", "a deleted definition"])
async def test_an_environment_is_read_whole_where_its_changes_do_not_tell(obstacle: str):
    stored, store = StoredEnvironments("production"), SnapshotStore()
    refresher = refresher_of(stored, store)
    await refresher.refresh()
    stored.loaded.clear()
    stored.change("production")
    stored.is_telling = obstacle == "a deleted definition"
    stored.number = 0
    await refresher.refresh()
    assert stored.loaded == ["production"]
    assert await store.report() | {"ageSeconds": 0} == {"ageSeconds": 0, "versions": {"production": 2}}


async def test_a_large_environment_is_compiled_a_piece_at_a_time():
    stored, store = StoredEnvironments("production"), SnapshotStore()
    large = {f"flag-{number}": ON for number in range(500)}
    stored.stored["production"] = replace(stored.stored["production"], definitions=large)
    refresher = refresher_of(stored, store)
    await refresher.refresh()
    assert [await refresher.compile_ahead() for _ in range(3)] == [True, False, False]


async def test_an_environment_that_is_gone_is_forgotten():
    stored, store = StoredEnvironments("production", "staging"), SnapshotStore()
    refresher = refresher_of(stored, store)
    await refresher.refresh()
    del stored.stored["staging"]
    await refresher.refresh()
    assert store.find("staging") is None
    assert [snapshot.key for snapshot in store.all()] == ["production"]


async def test_nothing_is_evaluated_before_the_first_read():
    store = SnapshotStore()
    with pytest.raises(SnapshotMissingError):
        store.find("production")
    with pytest.raises(SnapshotMissingError):
        await store.report()


async def test_the_age_counts_from_the_last_confirmation():
    now = [100.0]
    store = SnapshotStore(clock=lambda: now[0])
    await refresher_of(StoredEnvironments("production"), store).refresh()
    now[0] += 7.5
    assert await store.report() == {"ageSeconds": 7.5, "versions": {"production": 1}}
