"""Where answers may be sent: registered addresses, compared character for character (RFC 9700 section 4.1.3)."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

_LONGEST: Final = 2_000
_VISIBLE = re.compile(
    r"[\x21\x23-\x29\x2b-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+"
)  # no quotes, *, <, >, ^, {, |
_PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
_RESERVED: Final = frozenset({"code", "state", "iss", "error", "error_description"})


def check_redirect_uri(uri: str, *, is_public: bool) -> None:
    """Raise `ValueError`, which says why, unless a client may register this address.

    https, http on a loopback address, and for public clients a private-use scheme (RFC 8252 section 7.1).
    """
    if len(uri) > _LONGEST or not _VISIBLE.fullmatch(uri):
        raise ValueError("has characters that no address has, or a wildcard")
    parts = _split(uri)
    if parts is None or "#" in uri:
        raise ValueError("must be an absolute address without a fragment")
    if "@" in parts.netloc:
        raise ValueError("must not carry credentials")
    if not _RESERVED.isdisjoint(name for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError("has a parameter that answers use")
    _check_scheme(parts, is_public=is_public)


def _check_scheme(parts: SplitResult, *, is_public: bool) -> None:
    match parts.scheme:
        case "https":
            if not parts.hostname:
                raise ValueError("has no host")
        case "http":
            if parts.hostname not in {*_LOOPBACK, "localhost"}:
                raise ValueError("must be https, except on a loopback address")
        case scheme if is_public and _PRIVATE_SCHEME.fullmatch(scheme):
            if not parts.path and not parts.netloc:
                raise ValueError("has no path")
        case _:
            raise ValueError(
                "must be https, http on a loopback address or, for public clients, com.example.app:/path"
            )


def is_registered(uri: str, registered: Iterable[str]) -> bool:
    """Tell whether an address was registered; on a loopback IP address any port will do (RFC 8252 section 7.3)."""
    known = tuple(registered)
    if uri in known:
        return True
    anywhere = _without_port(uri)
    return anywhere is not None and any(_without_port(each) == anywhere for each in known)


def with_parameters(uri: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Add parameters to an address, whose own query stays (RFC 6749 section 3.1.2)."""
    separator = "&" if "?" in uri else "?"
    return f"{uri}{separator}{urlencode(list(parameters))}"


def origin_of(uri: str) -> str:
    """Return what a content security policy calls the place of an address."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in {"http", "https"} else f"{parts.scheme}:"


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme else None


def _without_port(uri: str) -> str | None:
    parts = _split(uri)
    if parts is None or parts.scheme != "http" or parts.hostname not in _LOOPBACK or "@" in parts.netloc:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if parts.netloc not in {host, f"{host}:{parts.port}"}:
        return None
    _, _, rest = uri.partition(parts.netloc)
    return f"http://{host}{rest}"
