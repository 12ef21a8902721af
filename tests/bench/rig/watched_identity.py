"""identity with a watch on its event loop: `GET /bench/loop` tells how late it was, and begins anew."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

from undercroft.identity.main import create_app
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.command import run_command

_EVERY_SECONDS: Final = 0.001
_MOST: Final = 5_000


class Watch:
    """Wakes up each millisecond and notes how late it is, and what the loop's thread computed meanwhile."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=_MOST)
        self._busy: deque[float] = deque(maxlen=_MOST)

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            began, computed = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_EVERY_SECONDS)
            self._late.append(time.perf_counter() - began - _EVERY_SECONDS)
            self._busy.append(time.thread_time() - computed)

    def tell(self) -> dict[str, float]:
        """Return milliseconds: longest and 99th percentile of lateness, and the most that was computed in a row."""
        late, busy = sorted(self._late), max(self._busy, default=0)
        self._late.clear()
        self._busy.clear()
        return {
            "longest": late[-1] * 1000 if late else 0,
            "p99": late[int(len(late) * 0.99)] * 1000 if late else 0,
            "computed": busy * 1000,
        }


def create_watched_app(settings: IdentitySettings) -> FastAPI:
    """Build identity with the watch."""
    app, watch = create_app(settings), Watch()
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(owner: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(watch.run())
        async with inner(owner):
            yield
        task.cancel()

    app.router.lifespan_context = lifespan

    @app.get("/bench/loop")
    async def tell() -> dict[str, float]:
        return watch.tell()

    return app


def main() -> None:
    """Run identity's own command."""
    run_command(IdentitySettings, create_watched_app, package="undercroft.identity")
