"""`undercroft up`: the database first, the imports while it boots, then one loop for everything."""

import gc
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from undercroft.launcher.data_directory import DataDirectory
from undercroft.launcher.options import LISTEN_OPTIONS, UpOptions
from undercroft.shared import listeners


class _EarlyStop:
    """A stop that is asked for before the loop, with handlers of its own, runs.

    An interrupt may be swallowed: by an import that treats any error as a missing module, by a callback. So it is
    remembered too, and the loop asks before it starts anything.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._is_deferred = False
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, self._on_signal)

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self.is_requested = True
        if not self._is_deferred:
            raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the block finish first: an interrupt inside it would leave what nobody knows of."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        if self.is_requested:
            raise KeyboardInterrupt


def up(options: UpOptions, *, started: float) -> None:
    """Run the platform until it is told to stop; `started` is the `time.monotonic()` at which the command began.

    Raises the errors that `errors.explain` knows.
    """
    stop = _EarlyStop()
    try:
        directory = DataDirectory(options.data_directory)
        with directory.in_use():
            listeners.allow_many_connections()
            sockets = listeners.adopt(options.listen_fds) or listeners.listen(
                options.host, options.port, names=LISTEN_OPTIONS
            )
            try:
                options = replace(options, port=listeners.port_of(sockets))
                _with_database(options, directory, sockets, started=started, stop=stop)
            finally:
                listeners.close(sockets)
    except BaseException:
        # Not only KeyboardInterrupt: an interrupted import may fail in any way.
        if not stop.is_requested:
            raise


def _with_database(
    options: UpOptions,
    directory: DataDirectory,
    sockets: list[socket.socket],
    *,
    started: float,
    stop: _EarlyStop,
) -> None:
    from undercroft.launcher.database_servers import choose_server

    server = choose_server(directory, options.database_url)
    try:
        with stop.deferred():
            server.start()
        # What is imported stays: collecting garbage meanwhile costs a tenth of the time and finds nothing.
        gc.disable()
        from undercroft.launcher.screen import Screen

        screen = Screen()
        with screen.step("Creating the database", is_shown=server.was_new):
            from undercroft.launcher.running import Run

            run = Run(
                options,
                directory=directory,
                server=server,
                screen=screen,
                sockets=sockets,
                started=started,
            )
            server.wait_ready()
        run(is_stopping=lambda: stop.is_requested)
    finally:
        server.stop()
