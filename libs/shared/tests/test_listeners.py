import errno
import resource
import socket

import pytest
from typing_extensions import override

from undercroft.shared import listeners
from undercroft.shared.listeners import ListenError, Names

OPTIONS = Names("--host", "--port")


def refuse_with(number: int) -> type[socket.socket]:
    class Refusing(socket.socket):
        @override
        def bind(self, address: object) -> None:
            raise OSError(number, "refused")

    return Refusing


def test_a_free_port_is_taken_and_named():
    sockets = listeners.listen("127.0.0.1", 0, names=OPTIONS)

    port = listeners.port_of(sockets)

    with socket.create_connection(("127.0.0.1", port)):
        listeners.close(sockets)
    assert port > 0


def test_a_taken_port_is_refused_before_anything_starts():
    taken = listeners.listen("127.0.0.1", 0, names=OPTIONS)
    port = listeners.port_of(taken)

    with pytest.raises(ListenError, match=rf"^port {port} of 127\.0\.0\.1 is taken: .*--port$"):
        listeners.listen("127.0.0.1", port, names=OPTIONS)
    listeners.close(taken)


def test_a_port_is_free_again_right_after_use():
    first = listeners.listen("127.0.0.1", 0, names=OPTIONS)
    port = listeners.port_of(first)
    listeners.close(first)
    listeners.close(first)

    listeners.close(listeners.listen("127.0.0.1", port, names=OPTIONS))


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 300, "192.0.2.1"])
def test_an_address_of_another_machine_is_refused(host: str):
    with pytest.raises(ListenError, match=r"is not an address of this machine: choose one with --host"):
        listeners.listen(host, 0, names=OPTIONS)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "choose one above 1023 with --port"),
        (errno.ENETDOWN, "refused; choose others with --host and --port"),
    ],
)
def test_a_refused_port_says_what_to_do(number: int, advice: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "socket", refuse_with(number))

    with pytest.raises(ListenError, match=advice):
        listeners.listen("127.0.0.1", 80, names=OPTIONS)


def test_a_name_with_several_addresses_needs_only_one_that_works(monkeypatch: pytest.MonkeyPatch):
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    free = listeners.listen("127.0.0.1", 0, names=OPTIONS)
    port = listeners.port_of(free)
    listeners.close(free)
    answers = [
        (family, kind, protocol, name, (address[0], port)) for family, kind, protocol, name, address in found
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)

    sockets = listeners.listen("both", port, names=OPTIONS)

    assert [each.getsockname() for each in sockets] == [("127.0.0.1", port)]
    listeners.close(sockets)


def test_ipv6_is_listened_on():
    try:
        sockets = listeners.listen("::1", 0, names=OPTIONS)
    except ListenError:
        pytest.skip("this machine has no IPv6")
    assert sockets[0].family == socket.AF_INET6
    listeners.close(sockets)


def test_sockets_of_a_parent_are_adopted():
    parent = listeners.listen("127.0.0.1", 0, names=OPTIONS)
    descriptor = parent[0].detach()

    adopted = listeners.adopt([descriptor])

    assert adopted[0].fileno() == descriptor
    assert adopted[0].family == socket.AF_INET
    listeners.close(adopted)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((1_024, 4_096), (4_096, 4_096)),
        ((1_024, 1_000_000), (65_536, 1_000_000)),
        ((1_024, resource.RLIM_INFINITY), (65_536, resource.RLIM_INFINITY)),
    ],
)
def test_the_soft_limit_of_open_files_is_raised(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], expected: tuple[int, int]
):
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: given.append(wanted))
    listeners.allow_many_connections()
    assert given == [expected]


@pytest.mark.parametrize("soft", [65_536, 100_000, resource.RLIM_INFINITY])
def test_a_limit_of_open_files_that_is_enough_stays(monkeypatch: pytest.MonkeyPatch, soft: int):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: pytest.fail("it was set"))
    listeners.allow_many_connections()
