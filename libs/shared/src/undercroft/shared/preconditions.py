"""Conditional requests (RFC 9110, sections 8.8.3 and 13): entity tags, `If-Match`, `If-None-Match`.

A list of tags is passed as one text, repeated header lines joined by commas: `IfMatch` and `IfNoneMatch` do that.
"""

import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Final

from fastapi import Depends, Header

from undercroft.shared.errors import PreconditionFailedError, PreconditionRequiredError

_TAG_CHARACTERS: Final = r"[\x21\x23-\x7e\x80-\xff]*"
_TAG_TEXT = re.compile(_TAG_CHARACTERS)
# One element of a list; it may be empty (RFC 9110, section 5.6.1.2), and a tag may hold a comma. White space is matched
# possessively: two ways to share it out would make a hostile header take quadratic time.
_ELEMENT = re.compile(rf'[ \t]*+(?:(?P<weak>W/)?(?P<tag>"{_TAG_CHARACTERS}")[ \t]*+)?(?P<end>,|\Z)')
_LONGEST_TEXT: Final = 64
_DIGEST_BYTES: Final = 18


def etag_for(revision: int | str | bytes) -> str:
    """Return the strong entity tag of a revision: a number or name as it is, a content by its SHA-256."""
    if isinstance(revision, bytes):
        return f'"{_digest(revision)}"'
    text = str(revision)
    is_tag = len(text) <= _LONGEST_TEXT and text.isascii() and _TAG_TEXT.fullmatch(text)
    return f'"{text}"' if is_tag else f'"{_digest(text.encode())}"'


def check_if_match(header: str | None, etag: str | None, *, is_required: bool = False) -> None:
    """Raise PreconditionFailedError unless `If-Match` is absent or lists the current tag (strong comparison).

    `etag` is None for a resource that does not exist. A weak tag never matches, whichever side it is on, nor does a
    header that is no list of tags. With `is_required`, absence raises PreconditionRequiredError.
    """
    if header is None:
        if is_required:
            raise PreconditionRequiredError("Send If-Match with the ETag that you have read.")
        return
    if _is_any(header):
        is_match = etag is not None
    else:
        is_match = etag is not None and (False, etag) in (_parse(header) or ())
    if not is_match:
        raise PreconditionFailedError("The resource is not the one that If-Match names; read it again.")


def if_none_match_matches(header: str | None, etag: str | None) -> bool:
    """Tell whether `If-None-Match` lists the current tag (weak comparison): a read then answers 304.

    A header that is no list of tags matches nothing, so the read answers in full.
    """
    if header is None or etag is None:
        return False
    if _is_any(header):
        return True
    current = etag.removeprefix("W/")
    return any(tag == current for _, tag in _parse(header) or ())


def check_if_none_match(header: str | None, etag: str | None) -> None:
    """Raise PreconditionFailedError when `If-None-Match` of a change lists the current tag, or `*` and it exists."""
    is_readable = header is None or _is_any(header) or _parse(header) is not None
    if not is_readable or if_none_match_matches(header, etag):
        raise PreconditionFailedError("The resource is one that If-None-Match names, or it names none.")


def _is_any(header: str) -> bool:
    return header.strip(" \t") == "*"


def _parse(header: str) -> list[tuple[bool, str]] | None:
    """Read a list of tags as (is weak, tag in its quotes); None for anything else."""
    tags: list[tuple[bool, str]] = []
    at = 0
    while match := _ELEMENT.match(header, at):
        if match["tag"] is not None:
            tags.append((match["weak"] is not None, match["tag"]))
        if not match["end"]:
            return tags
        at = match.end()
    return None


def _digest(content: bytes) -> str:
    return urlsafe_b64encode(sha256(content).digest()[:_DIGEST_BYTES]).decode()


def _joined(lines: Sequence[str] | None) -> str | None:
    return None if lines is None else ", ".join(lines)


async def _if_match(
    if_match: Annotated[
        list[str] | None, Header(description="Change the resource only if it still has one of these ETags.")
    ] = None,
) -> str | None:
    return _joined(if_match)


async def _if_none_match(
    if_none_match: Annotated[
        list[str] | None, Header(description="Answer 304 if the resource still has one of these ETags.")
    ] = None,
) -> str | None:
    return _joined(if_none_match)


IfMatch = Annotated[str | None, Depends(_if_match)]
"""The request's `If-Match`, all its lines."""

IfNoneMatch = Annotated[str | None, Depends(_if_none_match)]
"""The request's `If-None-Match`, all its lines."""
