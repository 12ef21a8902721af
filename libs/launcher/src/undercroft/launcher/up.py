"""`undercroft up`: the database first, the imports while it boots, then one loop for everything."""

import gc
import signal
import socket
import sys
from types import FrameType

from undercroft.launcher import listeners
from undercroft.launcher.data_directory import DataDirectory
from undercroft.launcher.options import UpOptions


def up(options: UpOptions, *, started: float) -> None:
    """Run the platform until it is told to stop; `started` is the `time.monotonic()` at which the command began.

    Raises the errors that `errors.explain` knows.
    """
    # Until the loop has handlers of its own, a polite kill must not leave the database behind.
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, _interrupt)
    directory = DataDirectory(options.data_directory)
    with directory.in_use():
        _keep_bytecode(directory)
        sockets = listeners.adopt(options.listen_fds) or listeners.listen(options.host, options.port)
        try:
            _with_database(options, directory, sockets, started)
        except KeyboardInterrupt:
            return
        finally:
            listeners.close(sockets)


def _with_database(
    options: UpOptions, directory: DataDirectory, sockets: list[socket.socket], started: float
) -> None:
    from undercroft.launcher.database_servers import choose_server

    server = choose_server(directory, options.database_url)
    server.start()
    try:
        # What is imported stays: collecting garbage meanwhile costs a tenth of the time and finds nothing.
        gc.disable()
        from undercroft.launcher.screen import Screen

        screen = Screen()
        with screen.step("Creating the database", is_shown=server.was_new):
            from undercroft.launcher.running import Run, run

            server.wait_ready()
        run(Run(options, directory, server, screen, sockets, started))
    finally:
        server.stop()


def _keep_bytecode(directory: DataDirectory) -> None:
    """Where Python may not write compiled modules beside the code, keep them here: it saves half of each start."""
    if sys.dont_write_bytecode and sys.pycache_prefix is None:
        sys.pycache_prefix = str(directory.bytecode)
        sys.dont_write_bytecode = False


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
