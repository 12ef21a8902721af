"""Sockets to listen on, opened before anything else is started: a taken port is noticed at once."""

import contextlib
import errno
import resource
import socket
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

BACKLOG: Final = 2048

_MOST_FILES: Final = 65_536


class ListenError(Exception):
    """The address cannot be listened on; the message is one line that says what to do."""


class Names(NamedTuple):
    """What the user knows the host and the port by: options, or settings."""

    host: str
    port: str


def listen(host: str, port: int, *, names: Names) -> list[socket.socket]:
    """Listen on every address of a host name; port 0 takes any free one.

    Clients that come before anything is served wait in the backlog. Raises `ListenError`, which tells by `names`
    what to choose otherwise.
    """
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in _addresses(host, port, names):
        try:
            sockets.append(_listen(family, address))
        except OSError as error:
            # A machine without IPv6 still resolves localhost to ::1: one address that works is enough.
            failure = error
            if error.errno == errno.EADDRINUSE:
                break
    if failure is not None and (not sockets or failure.errno == errno.EADDRINUSE):
        close(sockets)
        raise ListenError(_explain(host, port, failure, names)) from failure
    return sockets


def allow_many_connections() -> None:
    """Raise this process's limit of open files to what it is allowed: event streams take one or two each.

    The usual soft limit of 1,024 is for programs that use select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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


def _addresses(host: str, port: int, names: Names) -> Sequence[tuple[socket.AddressFamily, tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ListenError(_not_ours(host, names)) from error
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


def _explain(host: str, port: int, error: OSError, names: Names) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"port {port} of {host} is taken: stop what uses it, or choose another one with {names.port}"
            )
        case errno.EACCES:
            return (
                f"port {port} of {host} is not allowed for this user: choose one above 1023 with {names.port}"
            )
        case errno.EADDRNOTAVAIL:
            return _not_ours(host, names)
        case _:
            reason = f"cannot listen on {host} port {port}: {error.strerror}"
            return f"{reason}; choose others with {names.host} and {names.port}"


def _not_ours(host: str, names: Names) -> str:
    return f"the host {host!r} is not an address of this machine: choose one with {names.host}, such as 127.0.0.1"
