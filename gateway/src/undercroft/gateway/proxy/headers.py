"""Request headers read once: what is checked, what is taken, and what may be passed on."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from undercroft.gateway.errors import (
    CredentialsMalformedError,
    HeadersTooLargeError,
    MalformedRequestError,
)

RawHeader = tuple[bytes, bytes]

MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 32_768
VIA: Final = b"1.1 undercroft"

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_SET_BY_US: Final = frozenset(
    {
        b"host",
        b"request-id",
        b"traceparent",
        b"tracestate",
        b"request-timeout-ms",
        b"forwarded",
        b"via",
        b"expect",
    }
)
# Those whose authentication is their own business get them back, see `own_credentials`.
_CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key", b"dpop", b"cookie", b"x-organization"})
_OWN_CREDENTIALS: Final = frozenset({b"authorization", b"dpop"})
_SINGLE: Final = frozenset(
    {
        b"content-length",
        b"host",
        b"authorization",
        b"x-api-key",
        b"content-type",
        b"origin",
        b"transfer-encoding",
    }
)
# Anything that a service might take for the gateway's own word about the caller.
_SPOOFABLE: Final = (b"undercroft-", b"x-forwarded-", b"x-internal-", b"x-real-ip", b"x-user-id", b"x-org-id")
_TAKEN: Final = _SINGLE | {
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-organization",
    b"dpop",
    b"request-timeout-ms",
    b"access-control-request-method",
}
_HOST: Final = re.compile(rb"[A-Za-z0-9._~:\[\]-]{1,255}")
_HOUSEHOLD_BITS: Final = 64
_CLASSES: dict[bytes, int] = {}
_KEEP, _DROP, _TAKE_AND_KEEP, _TAKE_AND_DROP = range(4)
_MOST_CLASSES: Final = 2_000


def _classify(name: bytes) -> int:
    is_spoofable = name.replace(b"_", b"-").startswith(_SPOOFABLE)  # some servers read both as one name
    is_dropped = is_spoofable or name in _HOP_BY_HOP or name in _SET_BY_US or name in _CREDENTIALS
    if name in _TAKEN:
        return _TAKE_AND_DROP if is_dropped else _TAKE_AND_KEEP
    return _DROP if is_dropped else _KEEP


class RequestHeaders:
    """One request's headers; `kept` are those that may be passed on as they are."""

    __slots__ = ("kept", "taken")

    def __init__(self, headers: Iterable[RawHeader]) -> None:
        self.kept: list[RawHeader] = []
        self.taken: dict[bytes, bytes] = {}
        size = number = 0
        connection: bytes | None = None
        for header in headers:
            name, value = header
            size += len(name) + len(value)
            number += 1
            kind = _CLASSES.get(name)
            if kind is None:
                kind = _remember(name)
            if kind == _KEEP:
                self.kept.append(header)
                continue
            if kind >= _TAKE_AND_KEEP:
                self._take(name, value)
                if kind == _TAKE_AND_KEEP:
                    self.kept.append(header)
            elif name == b"connection":
                connection = value if connection is None else connection + b"," + value
        if number > MAX_HEADERS or size > MAX_HEADER_BYTES:
            raise HeadersTooLargeError(
                f"At most {MAX_HEADERS} header fields and {MAX_HEADER_BYTES} bytes are read."
            )
        if connection is not None:
            self._drop_named_by(connection)

    def get(self, name: bytes) -> bytes | None:
        """Return a header that was taken out."""
        return self.taken.get(name)

    def content_length(self) -> int | None:
        """Return the announced length of the body, 0 for none, None for a chunked one.

        Raises `MalformedRequestError` for what could be read in two ways (RFC 9112 section 6.3).
        """
        length, coding = self.taken.get(b"content-length"), self.taken.get(b"transfer-encoding")
        if coding is not None:
            if length is not None:
                raise MalformedRequestError("Content-Length and Transfer-Encoding exclude each other.")
            if coding.strip().lower() != b"chunked":
                raise MalformedRequestError("The only transfer coding understood is chunked.")
            return None
        if length is None:
            return 0
        if not length.isdigit() or len(length) > 18:  # noqa: PLR2004  more than any file there is
            raise MalformedRequestError("Content-Length is not a number.")
        return int(length)

    def _take(self, name: bytes, value: bytes) -> None:
        if name in self.taken:
            if name == b"authorization":
                raise CredentialsMalformedError("Authorization was sent more than once.")
            if name in _SINGLE:
                raise MalformedRequestError(f"{name.decode('ascii')} was sent more than once.")
            value = self.taken[name] + b", " + value
        self.taken[name] = value

    def _drop_named_by(self, connection: bytes) -> None:
        named = {token.strip().lower() for token in connection.split(b",")} - {b"close", b"keep-alive", b""}
        if named:
            self.kept = [header for header in self.kept if header[0] not in named]


def _remember(name: bytes) -> int:
    kind = _classify(name)
    if len(_CLASSES) < _MOST_CLASSES:
        _CLASSES[name] = kind
    return kind


def own_credentials(headers: Iterable[RawHeader]) -> list[RawHeader]:
    """Return what only services that authenticate by themselves are sent, as it came."""
    return [header for header in headers if header[0] in _OWN_CREDENTIALS]


def cookies(headers: Iterable[RawHeader]) -> list[RawHeader]:
    """Return the cookies as they came."""
    return [header for header in headers if header[0] == b"cookie"]


def response_headers(headers: Sequence[RawHeader], *, keeps_cookies: bool = False) -> list[RawHeader]:
    """Return an upstream's headers without those that are not for the caller, or not the upstream's to set."""
    kept = []
    connection = b""
    is_chunked = False
    for header in headers:
        name = header[0]
        if name == b"connection":
            connection = header[1]
        elif name == b"transfer-encoding":
            is_chunked = True
        elif name == b"set-cookie":
            if keeps_cookies:
                kept.append(header)
        elif name not in _RESPONSE_DROPPED and not name.startswith(_RESPONSE_DROPPED_BEGINNINGS):
            kept.append(header)
    if is_chunked:
        kept = [header for header in kept if header[0] != b"content-length"]
    if connection:
        named = {token.strip().lower() for token in connection.split(b",")}
        kept = [header for header in kept if header[0] not in named]
    return kept


_RESPONSE_DROPPED: Final = _HOP_BY_HOP | {b"request-id", b"date", b"server"}
# Which origins may read an answer is a property of the route, and said once.
_RESPONSE_DROPPED_BEGINNINGS: Final = (b"undercroft-", b"access-control-")


def client_address(peer: str, headers: RequestHeaders, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """Return the caller's address: the peer's, or what trusted proxies in front say about it."""
    forwarded = headers.get(b"x-forwarded-for")
    if forwarded is None or not _is_in(peer, trusted):
        return peer
    for entry in reversed(forwarded.decode("latin-1").split(",")):
        address = entry.strip()
        if not _is_in(address, trusted):
            return address if _is_address(address) else peer
        peer = address
    return peer


def client_scheme(
    peer: str, scheme: str, headers: RequestHeaders, trusted: Sequence[IPv4Network | IPv6Network]
) -> str:
    """Return the scheme that the caller used, as far as trusted proxies in front tell."""
    forwarded = headers.get(b"x-forwarded-proto")
    if forwarded in (b"http", b"https") and _is_in(peer, trusted):
        return forwarded.decode("ascii")
    return scheme


def forwarded_value(address: str, scheme: str, host: bytes | None) -> bytes:
    """Return the value of `Forwarded` (RFC 7239), without a host that could be read as more than one."""
    node = f'"[{address}]"' if ":" in address else address
    value = f"for={node};proto={scheme}".encode()
    if host is not None and _HOST.fullmatch(host):
        value += b';host="' + host + b'"'
    return value


@lru_cache(maxsize=10_000)
def network_of(address: str) -> str:
    """Return what an address is counted as: of IPv6 the network of a household, which has 2^64 addresses."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped) if mapped else str(ip_network((parsed, _HOUSEHOLD_BITS), strict=False))


def _is_in(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    if not networks:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def _is_address(text: str) -> bool:
    """Tell whether a text is an address; one with a zone is of somebody else's link, and a zone may be any text."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text
