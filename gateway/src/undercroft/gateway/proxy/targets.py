"""Request targets: only those that every server reads the same way are passed on (RFC 3986, RFC 9110 section 17.9)."""

import re
from urllib.parse import unquote_to_bytes

from undercroft.gateway.errors import MalformedRequestError, TargetTooLongError
from undercroft.shared.errors import NotImplementedMethodError

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MAX_TARGET_BYTES = 8_192

_PLAIN_PATH = re.compile(rb"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9\-._~!$&'()*+,;=:@]+)*/?")
_ENCODED_PATH = re.compile(rb"(?:/(?!\.\.?(?:/|\Z))(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+)*/?")
# What a server might decode before it splits the path: separators, dots that make segments, ends of strings.
_TREACHEROUS = re.compile(rb"%(?:2e|2f|5c|[01][0-9a-f]|7f|25)", re.IGNORECASE)
_QUERY = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]{}|\"<>^`\\]|%[0-9A-Fa-f]{2})*")


def check_method(method: str) -> None:
    """Refuse methods that no route could offer."""
    if method not in METHODS:
        raise NotImplementedMethodError(f"The method {method[:20]} is not known.")


def check_target(path: bytes, query: bytes) -> str:
    """Return the path as text (still percent-encoded) when no server could take it for another one.

    Refused with 400: dot segments, empty segments, encoded dots, slashes, backslashes, control characters and
    percent signs, invalid escapes, and escapes that are not UTF-8. Refused with 414: more than 8 KiB.
    """
    if len(path) + len(query) > MAX_TARGET_BYTES:
        raise TargetTooLongError(f"The path and query exceed {MAX_TARGET_BYTES} bytes.")
    if not path or not _PLAIN_PATH.fullmatch(path):
        _check_encoded(path)
    if query and not _QUERY.fullmatch(query):
        raise MalformedRequestError("The query has characters or escapes that are not allowed.")
    return path.decode("ascii")


def _check_encoded(path: bytes) -> None:
    if not path.startswith(b"/") or not _ENCODED_PATH.fullmatch(path):
        raise MalformedRequestError("The path has segments or characters that are not allowed.")
    if _TREACHEROUS.search(path):
        raise MalformedRequestError("The path encodes characters that could change its meaning.")
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequestError("The path is not UTF-8.") from None
