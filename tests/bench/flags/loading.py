"""How long 10,000 flags take from PostgreSQL into a snapshot, what they weigh, and what a change of one costs."""

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy.engine import make_url
from tests.bench.flags.environment import context, flagd_document
from tests.bench.rig.processes import memory_megabytes

FLAGS = 10_000
_INSERT_FLAGS = """
INSERT INTO flags.flags (id, key, type, description, tags, variants, revision)
SELECT uuidv7(), key, 'boolean', '', '{}', '{}', nextval('flags.revisions') FROM unnest($1::text[]) AS key
"""
_INSERT_DEFINITIONS = """
INSERT INTO flags.definitions (environment_id, flag_id, position, content, state, revision)
SELECT environments.id, flags.id, given.position, given.content, 'ENABLED', nextval('flags.revisions')
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given(key, content, position)
JOIN flags.flags USING (key) JOIN flags.environments ON environments.key = 'production'
"""
_SET_FRAME = """
UPDATE flags.environments SET frame = $1, version = nextval('flags.revisions') WHERE key = 'production'
"""
_CHANGE_ONE = """
WITH changed AS (
  UPDATE flags.definitions SET content = replace(content, 'ENABLED', 'DISABLED')
  WHERE flag_id = (SELECT id FROM flags.flags WHERE key = 'flag-05000')
)
UPDATE flags.environments SET version = nextval('flags.revisions') WHERE key = 'production'
"""


def report_loading(database_url: str) -> None:
    """Fill the database and print the rows, measured in a process of its own."""
    child = multiprocessing.get_context("spawn").Process(target=_run, args=(database_url,))
    child.start()
    child.join(120)


def _run(database_url: str) -> None:
    asyncio.run(_report(database_url))


async def _report(database_url: str) -> None:
    from undercroft.flags.repository.snapshots import SnapshotRepository
    from undercroft.flags.service.snapshots import SnapshotRefresher, SnapshotStore
    from undercroft.shared.db import Database

    connection = await asyncpg.connect(make_url(database_url).render_as_string(hide_password=False))
    document = flagd_document(FLAGS)
    flags = document["flags"]
    assert isinstance(flags, dict)
    contents = [json.dumps(definition, separators=(",", ":")) for definition in flags.values()]
    await connection.execute("TRUNCATE flags.flags, flags.definitions CASCADE")
    await connection.execute(_INSERT_FLAGS, list(flags))
    await connection.execute(_INSERT_DEFINITIONS, list(flags), contents)
    await connection.execute(_SET_FRAME, json.dumps({"flags": {}, "$evaluators": document["$evaluators"]}))
    await connection.execute("ANALYZE flags.flags, flags.definitions")
    del document, flags, contents

    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    database = Database(url.render_as_string(hide_password=False), application_name="bench")

    @asynccontextmanager
    async def open_repository() -> AsyncIterator[SnapshotRepository]:
        async with database.session() as session:
            yield SnapshotRepository(session)

    async with open_repository() as repository:
        await repository.versions()
    store = SnapshotStore()
    refresher = SnapshotRefresher(store, open_repository)
    before = memory_megabytes(os.getpid())
    started = time.perf_counter()
    await refresher.refresh()
    print(_row(f"{FLAGS:,} flags: loaded, ready to evaluate", started, before))
    started = time.perf_counter()
    while await refresher.compile_ahead():
        pass
    print(_row("the same: all compiled, in pieces behind it", started, before))
    seconds, processor = [], []
    for _ in range(5):
        await connection.execute(_CHANGE_ONE)
        started, used = time.perf_counter(), time.process_time()
        await refresher.refresh()
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    print(
        f"{'a change of one of them: read, compiled, swapped':52}{min(seconds) * 1e3:9.1f} ms"
        f"{min(processor) * 1e3:9.1f} ms of CPU"
    )
    snapshot = store.find("production")
    assert snapshot is not None
    started = time.perf_counter()
    snapshot.flags.render_all(context(), now=0)
    print(f"{'a bulk evaluation of all of them':52}{(time.perf_counter() - started) * 1e3:9.1f} ms")
    await connection.close()
    await database.dispose()


def _row(name: str, started: float, before: float) -> str:
    more = memory_megabytes(os.getpid()) - before
    return f"{name:52}{(time.perf_counter() - started) * 1e3:9.1f} ms{more:9.1f} MB more"
