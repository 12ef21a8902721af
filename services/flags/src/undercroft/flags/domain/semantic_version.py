"""Semantic versions as flagd's ``sem_ver`` reads and compares them (semver.org 2.0.0 and flagd's leniencies)."""

import operator
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

Identifier: TypeAlias = tuple[int, int, str]
Version: TypeAlias = tuple[int, int, int, int, tuple[Identifier, ...]]
"""Major, minor, patch, 1 for a release or 0 for a prerelease, and its identifiers: compares in version order."""

_NUMBER: Final = r"(0|[1-9][0-9]*)"
_IDENTIFIER: Final = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
)
_PARTS: Final = 3
_MAX_CACHED_LENGTH: Final = 64


def _same_major(left: Version, right: Version) -> bool:
    return left[0] == right[0]


def _same_minor(left: Version, right: Version) -> bool:
    return left[:2] == right[:2]


COMPARISONS: Final[dict[str, Callable[[Version, Version], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "^": _same_major,
    "~": _same_minor,
}


def parse_version(value: object) -> Version | None:
    """Read a version from a string or number, None when there is none.

    A leading ``v`` is dropped, ``1`` and ``1.2`` are padded to three parts, build metadata is ignored.
    """
    if isinstance(value, str):
        return _cached(value) if len(value) <= _MAX_CACHED_LENGTH else _parse(value)
    return _cached(str(value)) if isinstance(value, (int, float)) else None


def _parse(text: str) -> Version | None:
    match = _VERSION.fullmatch(_padded(text))
    if match is None:
        return None
    major, minor, patch, prerelease = match.groups()
    try:
        numbers = int(major), int(minor), int(patch)
    except ValueError:  # More digits than Python converts.
        return None
    if prerelease is None:
        return (*numbers, 1, ())
    return (*numbers, 0, tuple(map(_identifier, prerelease.split("."))))


_cached = lru_cache(maxsize=4096)(_parse)


def _padded(text: str) -> str:
    if text.startswith(("v", "V")):
        text = text[1:]
    core = text.split("-", 1)[0].split("+", 1)[0]
    missing = _PARTS - 1 - core.count(".")
    return core + ".0" * missing + text[len(core) :] if missing > 0 else text


def _identifier(text: str) -> Identifier:
    # Numbers sort below words and by value: by length first, as they have no leading zeros.
    return (0, len(text), text) if text.isdigit() else (1, 0, text)


def compare_versions(left: object, comparison: object, right: object) -> bool | None:
    """Compare two versions with one of COMPARISONS, None when any of the three is invalid."""
    compare = COMPARISONS.get(comparison) if isinstance(comparison, str) else None
    first, second = parse_version(left), parse_version(right)
    if compare is None or first is None or second is None:
        return None
    return compare(first, second)
