import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from structlog.contextvars import get_contextvars

from undercroft.shared.workers import Backoff, Supervisor, WorkerState

QUICK = Backoff(first_seconds=0.001, longest_seconds=0.004, reset_after_seconds=60)


class RecordingLogger:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def warning(self, event: str, **values: object) -> None:
        self.lines.append(("warning", event, values))

    def error(self, event: str, **values: object) -> None:
        self.lines.append(("error", event, values))

    @property
    def events(self) -> list[str]:
        return [event for _, event, _ in self.lines]


@pytest.fixture
def logger() -> RecordingLogger:
    return RecordingLogger()


@pytest.fixture
async def supervisor(logger: RecordingLogger) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(logger, backoff=QUICK)
    yield supervisor
    await supervisor.stop(timeout_seconds=1)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110 - the condition belongs to the code under test
            await asyncio.sleep(0.001)


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_worker_runs_in_the_background_and_knows_its_name(supervisor: Supervisor):
    seen: list[object] = []

    async def work() -> None:
        seen.append(get_contextvars().get("worker"))
        await forever()

    supervisor.start("feed", work)
    await until(lambda: seen)
    assert seen == ["feed"]
    assert supervisor.states() == {"feed": WorkerState("running")}
    assert supervisor.states()["feed"].is_healthy
    assert get_contextvars().get("worker") is None


async def test_a_failing_worker_restarts_and_each_failure_is_logged_once(
    supervisor: Supervisor, logger: RecordingLogger
):
    runs: list[int] = []

    async def work() -> None:
        runs.append(len(runs))
        if len(runs) <= 3:
            raise OSError("gone")
        await forever()

    supervisor.start("feed", work)
    await until(lambda: len(runs) == 4)
    assert logger.events == ["worker_failed"] * 3
    assert [values["failures"] for _, _, values in logger.lines] == [1, 2, 3]
    assert isinstance(logger.lines[0][2]["exc_info"], OSError)
    assert supervisor.states()["feed"] == WorkerState("running", failures=3, last_error="OSError")


async def test_a_worker_that_fails_leaves_the_others_alone(supervisor: Supervisor, logger: RecordingLogger):
    async def fail() -> None:
        raise OSError

    supervisor.start("good", forever)
    supervisor.start("bad", fail)
    await until(lambda: len(logger.lines) > 3)
    assert supervisor.states()["good"] == WorkerState("running")
    assert supervisor.states()["bad"].last_error == "OSError"


async def test_a_waiting_worker_is_not_healthy(logger: RecordingLogger):
    supervisor = Supervisor(logger, backoff=Backoff(first_seconds=60))

    async def fail() -> None:
        raise OSError

    supervisor.start("feed", fail)
    await until(lambda: logger.lines)
    assert supervisor.states()["feed"] == WorkerState("waiting", failures=1, last_error="OSError")
    assert not supervisor.states()["feed"].is_healthy
    await supervisor.stop()
    assert supervisor.states()["feed"].status == "stopped"


async def test_a_long_run_resets_the_count_of_failures(logger: RecordingLogger):
    supervisor = Supervisor(logger, backoff=Backoff(first_seconds=0.001, reset_after_seconds=0))

    async def fail() -> None:
        raise OSError

    supervisor.start("feed", fail)
    await until(lambda: len(logger.lines) >= 3)
    assert [values["failures"] for _, _, values in logger.lines][:3] == [1, 1, 1]
    await supervisor.stop()


async def test_a_worker_that_returns_is_restarted_with_a_warning(
    supervisor: Supervisor, logger: RecordingLogger
):
    async def end() -> None:
        await asyncio.sleep(0)

    supervisor.start("feed", end)
    await until(lambda: len(logger.lines) > 2)
    assert set(logger.events) == {"worker_ended"}
    assert supervisor.states()["feed"].last_error is None


async def test_a_cancellation_that_nobody_asked_for_counts_as_a_failure(
    supervisor: Supervisor, logger: RecordingLogger
):
    async def cancelled_inside() -> None:
        raise asyncio.CancelledError

    supervisor.start("feed", cancelled_inside)
    await until(lambda: len(logger.lines) > 1)
    assert logger.lines[0][2]["failures"] == 1
    assert supervisor.states()["feed"].last_error == "CancelledError"


async def test_stopping_cancels_and_awaits_every_worker(supervisor: Supervisor, logger: RecordingLogger):
    cleaned: list[str] = []

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0.01)
            cleaned.append("done")

    supervisor.start("one", work)
    supervisor.start("two", work)
    await asyncio.sleep(0)
    await supervisor.stop()
    await supervisor.stop()
    assert cleaned == ["done", "done"]
    assert {state.status for state in supervisor.states().values()} == {"stopped"}
    assert logger.lines == []


async def test_a_worker_stopped_before_its_first_step_never_runs(logger: RecordingLogger):
    supervisor = Supervisor(logger)
    supervisor.start("feed", forever)
    await supervisor.stop()
    assert supervisor.states() == {"feed": WorkerState("stopped")}


async def test_a_worker_that_swallows_its_cancellation_is_not_restarted(logger: RecordingLogger):
    supervisor = Supervisor(logger, backoff=QUICK)
    runs: list[int] = []

    async def swallow() -> None:
        runs.append(1)
        try:
            await forever()
        except asyncio.CancelledError:
            return

    supervisor.start("feed", swallow)
    await until(lambda: runs)
    await supervisor.stop()
    assert (runs, logger.lines) == ([1], [])
    assert supervisor.states()["feed"].status == "stopped"


async def test_an_error_while_cleaning_up_is_logged_and_ends_the_worker(logger: RecordingLogger):
    supervisor = Supervisor(logger, backoff=QUICK)
    runs: list[int] = []

    async def fail_at_the_end() -> None:
        runs.append(1)
        try:
            await forever()
        finally:
            raise OSError("close failed")

    supervisor.start("feed", fail_at_the_end)
    await until(lambda: runs)
    await supervisor.stop()
    assert (runs, logger.events) == ([1], ["worker_failed"])
    assert supervisor.states()["feed"] == WorkerState("stopped", failures=1, last_error="OSError")


async def test_a_worker_that_will_not_stop_is_named_within_the_timeout(logger: RecordingLogger):
    supervisor = Supervisor(logger)
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    supervisor.start("feed", stubborn)
    await asyncio.sleep(0)
    await supervisor.stop(timeout_seconds=0.01)
    assert logger.lines == [("error", "worker_did_not_stop", {"worker": "feed", "timeout_seconds": 0.01})]
    release.set()
    await until(lambda: supervisor.states()["feed"].status == "stopped")


async def test_nothing_starts_after_stopping_or_under_a_taken_name(supervisor: Supervisor):
    supervisor.start("feed", forever)
    with pytest.raises(RuntimeError, match="named feed already runs"):
        supervisor.start("feed", forever)
    await supervisor.stop()
    with pytest.raises(RuntimeError, match="has stopped"):
        supervisor.start("other", forever)


def test_the_end_of_the_event_loop_ends_the_workers(logger: RecordingLogger):
    async def main() -> Supervisor:
        supervisor = Supervisor(logger)
        supervisor.start("feed", forever)
        await asyncio.sleep(0)
        return supervisor

    assert asyncio.run(main()).states()["feed"].status == "stopped"
    assert logger.lines == []


def test_an_interrupt_inside_a_worker_ends_the_program(logger: RecordingLogger):
    async def interrupt() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        Supervisor(logger).start("feed", interrupt)
        await forever()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert logger.lines == []


def test_waits_double_up_to_the_longest_and_vary():
    backoff = Backoff(first_seconds=1, longest_seconds=8)
    longest = [max(backoff.seconds(failures) for _ in range(200)) for failures in (1, 2, 3, 4, 5, 10_000)]
    for wait, full in zip(longest, [1, 2, 4, 8, 8, 8], strict=True):
        assert full * 0.5 < wait <= full
    assert len({backoff.seconds(3) for _ in range(20)}) > 1
