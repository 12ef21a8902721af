"""Secrets and sizes taken out of what is about to be logged. Which values are logged at all is not decided here."""

import re
from collections.abc import Collection, Mapping
from datetime import date, datetime
from functools import lru_cache
from uuid import UUID

from pydantic import BaseModel, SecretBytes, SecretStr

REDACTED = "[redacted]"

_SHORTEST_SECRET = 10
_LONGEST_TEXT = 16_384
_MOST_VALUES = 1_000
_DEEPEST = 8
_PLAIN = (bool, int, float, datetime, date, UUID)
_NAMES_OF_SECRETS = re.compile(
    r"authorization|secret|token|passw|passphrase|cookie|api_?key|credential|private_?key|signing_?key|undercroft_principal"
)
# `api_key_id` or `token_count` say something about a secret without being one.
_NAMES_ABOUT_SECRETS = re.compile(r"_(?:ids?|at|count|kind|type|status|seconds)\Z")
_SECRETS_IN_TEXT = re.compile(
    r"(?P<key>\buc_(?:live|test)_[0-9a-z]{1,26})_?\w*"
    r"|(?P<scheme>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}"
    r"|(?P<url>\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{0,256}:)[^\s/@]{1,1024}(?=@)",
    re.IGNORECASE,
)


@lru_cache(maxsize=2_048)
def is_secret_name(name: str) -> bool:
    """Tell whether a value under this name is a secret: `Authorization`, `client_secret`, `X-API-Key`, ..."""
    plain = name.lower().replace("-", "_")
    return _NAMES_OF_SECRETS.search(plain) is not None and _NAMES_ABOUT_SECRETS.search(plain) is None


def redact(values: Mapping[str, object]) -> dict[str, object]:
    """Copy the values without secrets, cut to what JSON and a log line can bear: depth, items, length of text."""
    return _Copier().mapping(values, 0)


class _Copier:
    """One copy; `_left` is how many more values it may hold."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _MOST_VALUES

    def mapping(
        self, values: Mapping[str, object] | Mapping[object, object], depth: int
    ) -> dict[str, object]:
        copy: dict[str, object] = {}
        for key, value in values.items():
            if self._left <= 0:
                copy["..."] = f"{len(values) - len(copy)} more"
                break
            self._left -= 1
            name = key if isinstance(key, str) else _as_text(key)
            if is_secret_name(name) and not (value is None or isinstance(value, bool)):
                copy[name] = REDACTED
            else:
                copy[name] = self._value(value, depth + 1)
        return copy

    def _value(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return _redact_text(value)
        if value is None or isinstance(value, _PLAIN):
            return value
        if isinstance(value, SecretStr | SecretBytes):
            return REDACTED
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{len(value)} bytes>"
        return self._container(value, depth)

    def _container(self, value: object, depth: int) -> object:
        if depth > _DEEPEST:
            return "..."
        if isinstance(value, BaseModel):
            return self.mapping(vars(value), depth)
        if isinstance(value, Mapping):
            return self.mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._items(value, depth)
        return _redact_text(_as_text(value))

    def _items(self, values: Collection[object], depth: int) -> list[object]:
        copy: list[object] = []
        for value in values:
            if self._left <= 0:
                copy.append(f"{len(values) - len(copy)} more")
                break
            self._left -= 1
            copy.append(self._value(value, depth + 1))
        return copy


def _redact_text(text: str) -> str:
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}... {len(text) - _LONGEST_TEXT} more"
    # The expression is the costliest part of a log line, and nearly no text can match it.
    if len(text) < _SHORTEST_SECRET or not _has_mark(text.lower()):
        return text
    return _SECRETS_IN_TEXT.sub(_keep_the_public_part, text)


def _has_mark(text: str) -> bool:
    return "uc_" in text or "://" in text or "bearer" in text or "basic" in text


def _keep_the_public_part(match: re.Match[str]) -> str:
    return f"{match['key'] or match['scheme'] or match['url']}{REDACTED}"


def _as_text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a line about a broken object is worth more than its text
        return f"<{type(value).__name__}>"
