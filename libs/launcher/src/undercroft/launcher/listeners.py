"""Sockets to listen on, opened before anything else is started: a taken port is noticed at once."""

import contextlib
import errno
import socket
from collections.abc import Iterable, Sequence

from undercroft.launcher.errors import ListenError

BACKLOG = 2048


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of a host name; port 0 takes any free one.

    Clients that come before the platform is ready wait in the backlog. Raises `ListenError`.
    """
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in _addresses(host, port):
        try:
            sockets.append(_listen(family, address))
        except OSError as error:
            # A machine without IPv6 still resolves localhost to ::1: one address that works is enough.
            failure = error
            if error.errno == errno.EADDRINUSE:
                break
    if failure is not None and (not sockets or failure.errno == errno.EADDRINUSE):
        close(sockets)
        raise ListenError(_explain(host, port, failure)) from failure
    return sockets


def adopt(descriptors: Iterable[int]) -> list[socket.socket]:
    """Return the sockets that a parent process already listens on."""
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]


def close(sockets: Iterable[socket.socket]) -> None:
    """Close sockets; those already closed do not matter."""
    for each in sockets:
        with contextlib.suppress(OSError):
            each.close()


def port_of(sockets: list[socket.socket]) -> int:
    """Return the port that was taken."""
    port: int = sockets[0].getsockname()[1]
    return port


def _addresses(host: str, port: int) -> Sequence[tuple[socket.AddressFamily, tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ListenError(
            f"the host {host!r} is not an address of this machine; try --host 127.0.0.1"
        ) from error
    addresses = [(family, (str(address[0]), int(address[1]))) for family, _, _, _, address in found]
    # One free port for all: with port 0 only the first address is taken.
    return list(dict.fromkeys(addresses))[: None if port else 1]


def _listen(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.settimeout(0)  # asyncio's way
    except OSError:
        listener.close()
        raise
    return listener


def _explain(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} of {host} is taken: stop what uses it, or choose another one with --port"
        case errno.EACCES:
            return f"port {port} of {host} is not allowed for this user: choose one above 1023 with --port"
        case errno.EADDRNOTAVAIL:
            return f"the host {host!r} is not an address of this machine; try --host 127.0.0.1"
        case _:
            return (
                f"cannot listen on {host} port {port}: {error.strerror}; choose others with --host and --port"
            )
