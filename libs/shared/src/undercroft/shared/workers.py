"""Background work that outlives its failures: coroutines restarted with backoff, stopped together.

What the work is belongs to the deployable; whether its state makes the deployable unready is for its health checks.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

from structlog.contextvars import bound_contextvars

WorkerFactory: TypeAlias = Callable[[], Coroutine[object, object, object]]


class WorkerLogger(Protocol):
    """The part of a logger that is needed here."""

    def warning(self, event: str, **values: object) -> object:
        """Log a worker that ended by itself."""

    def error(self, event: str, **values: object) -> object:
        """Log a worker that failed."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a restart: doubling from `first_seconds` to `longest_seconds`, 50-100 % of it by chance.

    A worker that ran for `reset_after_seconds` starts again from the first wait.
    """

    first_seconds: float = 0.2
    longest_seconds: float = 30.0
    reset_after_seconds: float = 60.0

    def seconds(self, failures: int) -> float:
        """Return the wait after that many failures in a row (at least 1)."""
        # The exponent is capped: 2.0 ** 1024 overflows, and a worker may fail for weeks.
        full = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 63))
        return full * random.uniform(0.5, 1.0)  # noqa: S311 - spreads restarts, guards nothing


@dataclass(frozen=True, slots=True)
class WorkerState:
    """How one worker is doing: ends and failures in a row, and the class name of the last error if it was one."""

    status: Literal["running", "waiting", "stopped"]
    failures: int = 0
    last_error: str | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether the worker is running now."""
        return self.status == "running"


class Supervisor:
    """Run named coroutines for ever: restart each on failure, cancel and await all on `stop`.

    One failing worker never touches the others, which is why this is no `asyncio.TaskGroup`.
    """

    def __init__(self, logger: WorkerLogger, *, backoff: Backoff | None = None) -> None:
        self._logger = logger
        self._backoff = backoff or Backoff()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._states: dict[str, WorkerState] = {}
        self._is_stopping = False

    def start(self, name: str, factory: WorkerFactory) -> None:
        """Run the factory's coroutine in the background until `stop`; a fresh one after each end or failure.

        Raise RuntimeError once stopping has begun and for a name that is taken.
        """
        if self._is_stopping:
            raise RuntimeError(f"Worker {name} cannot start: its supervisor has stopped.")
        if name in self._tasks:
            raise RuntimeError(f"A worker named {name} already runs.")
        task = asyncio.create_task(self._keep_running(name, factory), name=f"worker:{name}")
        task.add_done_callback(lambda task: self._after_stop(name, task))
        self._tasks[name] = task
        self._states[name] = WorkerState("running")

    def states(self) -> Mapping[str, WorkerState]:
        """Return a copy of every worker's state, by name."""
        return dict(self._states)

    async def stop(self, timeout_seconds: float = 3.0) -> None:
        """Cancel every worker and wait for them, at most that long; calling it again is harmless.

        A worker that resists its cancellation is logged and left to the end of the event loop.
        """
        self._is_stopping = True
        pending = {task for task in self._tasks.values() if not task.done()}
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=timeout_seconds)
        for name, task in self._tasks.items():
            if not task.done():
                self._logger.error("worker_did_not_stop", worker=name, timeout_seconds=timeout_seconds)

    async def _keep_running(self, name: str, factory: WorkerFactory) -> None:
        # The task has its own copy of the context: every line that the worker logs names it.
        with bound_contextvars(worker=name):
            while True:
                wait_seconds = await self._run_once(name, factory)
                if self._is_ending():
                    # The worker answered its cancellation by returning or with an error of its own.
                    return
                await asyncio.sleep(wait_seconds)

    async def _run_once(self, name: str, factory: WorkerFactory) -> float:
        """Run until the coroutine ends and return the seconds to wait; only our own cancellation passes."""
        started = time.monotonic()
        self._states[name] = replace(self._states[name], status="running")
        try:
            await factory()
        except asyncio.CancelledError as error:
            # A library may raise it for a scope of its own; nobody cancelled this task then.
            if self._is_ending():
                raise
            return self._after_end(name, error, started)
        except Exception as error:  # noqa: BLE001 - a supervisor exists to survive all of them
            return self._after_end(name, error, started)
        return self._after_end(name, None, started)

    def _after_end(self, name: str, error: BaseException | None, started: float) -> float:
        ran_long = time.monotonic() - started >= self._backoff.reset_after_seconds
        failures = 1 if ran_long else self._states[name].failures + 1
        wait_seconds = self._backoff.seconds(failures)
        last_error = type(error).__name__ if error else None
        self._states[name] = WorkerState("waiting", failures, last_error)
        told = {"worker": name, "failures": failures, "restart_in_seconds": round(wait_seconds, 3)}
        if error is not None:
            self._logger.error("worker_failed", exc_info=error, **told)
        elif not self._is_ending():
            # Work that is meant to go on for ever has no reason to return.
            self._logger.warning("worker_ended", **told)
        return wait_seconds

    def _after_stop(self, name: str, task: asyncio.Task[None]) -> None:
        self._states[name] = replace(self._states[name], status="stopped")
        if not task.cancelled():
            # Retrieved, so that asyncio does not report what already went up through the loop (KeyboardInterrupt).
            task.exception()

    def _is_ending(self) -> bool:
        task = asyncio.current_task()
        return self._is_stopping or (task is not None and task.cancelling() > 0)
