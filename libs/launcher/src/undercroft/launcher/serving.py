"""Serving the gateway with Uvicorn in the launcher's loop, and what signals do to it."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

from fastapi import FastAPI
from typing_extensions import override
from uvicorn import Server

from undercroft.shared.command import server_config

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FORCED_STATUS: Final = 130
# Requests get this long to end once a stop is asked for; a stream or a long poll is then cut.
_GRACE_SECONDS: Final = 1


class GatewayServer(Server):
    """Uvicorn without its own ideas about signals and lifespans; calls back once it accepts requests."""

    def __init__(self, app: FastAPI, *, host: str, port: int, on_started: Callable[[], None]) -> None:
        config = server_config(app, host=host, port=port)
        config.lifespan = "off"  # the launcher holds it open
        config.timeout_graceful_shutdown = _GRACE_SECONDS
        super().__init__(config)
        self._app = app
        self._on_started = on_started
        logging.getLogger("uvicorn.error").addFilter(_is_worth_telling)

    @contextlib.contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.is_draining = True  # event streams end by themselves within the grace
        await super().shutdown(sockets)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Drop what the start screen says better, and the stack of a request that was cut by a stop."""
    is_cut = bool(record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
    return record.levelno > logging.INFO and not is_cut


class StopSignals:
    """The first signal asks for a clean stop, the second one forces it.

    Before something is served, a stop cancels the task that made this: the one that starts the platform.
    """

    def __init__(self, *, force: Callable[[], None]) -> None:
        self.is_requested = False
        self._starting = asyncio.current_task()
        self._force = force
        self._server: Server | None = None

    def install(self) -> None:
        """Listen to the signals in the running loop."""
        loop = asyncio.get_running_loop()
        for each in STOP_SIGNALS:
            loop.add_signal_handler(each, self.request)

    def serve(self, server: Server) -> None:
        """From now on a stop is the server's."""
        self._server = server

    def request(self) -> None:
        """Stop; when already stopping, force it."""
        if self.is_requested:
            self._force()
            os._exit(FORCED_STATUS)
        self.is_requested = True
        if self._server is not None:
            self._server.should_exit = True
        elif self._starting is not None:
            self._starting.cancel()

    def watch_lifeline(self, descriptor: int) -> None:
        """Stop when the other end of a pipe closes: the process that watches over this one is gone."""

        def closed() -> None:
            asyncio.get_running_loop().remove_reader(descriptor)
            if not self.is_requested:
                self.request()

        asyncio.get_running_loop().add_reader(descriptor, closed)
