"""Lists in pages: `limit` and `cursor` in, items with `nextCursor` and `Link: rel="next"` out, by keyset.

A cursor is the position of the last item shown, signed and bound to its list: opaque, tamper-evident, and good for as
long as the list keeps its order. Which columns order a list is its repository's business.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Self, TypeAlias, TypeVar
from urllib.parse import parse_qsl, quote, urlencode
from uuid import UUID

from fastapi import Depends, FastAPI, Query, Request, Response
from pydantic import ConfigDict, Field
from starlette.types import Scope

from undercroft.shared.errors import BadRequestError
from undercroft.shared.serialization import WireModel, dumps, loads
from undercroft.shared.settings import derive_key

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import InstrumentedAttribute

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200

CursorValue: TypeAlias = str | int | datetime | UUID

_MAC_BYTES: Final = 16
_LONGEST_CURSOR: Final = 2_048
# Sub-delimiters of RFC 3986 that a path may hold as they are; `<` and `>` would end the link's target.
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=~"

ItemT = TypeVar("ItemT")


class InvalidCursorError(BadRequestError):
    """The cursor is not one that this list gave out."""

    code = "invalid_cursor"


class Page(WireModel, Generic[ItemT]):
    """Some items of a list and where it goes on.

    `Page[Flag]` carries rows inside a service. On the wire each list has a class of its own, whose name and docstring
    the API's document shows: `class FlagPage(Page[FlagRead])`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    items: list[ItemT]
    next_cursor: str | None = Field(
        None, description="What `cursor` is for the next page; null on the last one."
    )

    @classmethod
    def of(cls, rows: "Page[Any]") -> Self:
        """Return this page of wire models, each read from a row's attributes."""
        return cls.model_validate(rows, from_attributes=True)


class CursorSigner:
    """Writes and reads cursors: base64url of a truncated HMAC-SHA256 and the position it signs."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encode(self, listing: str, position: tuple[CursorValue, ...]) -> str:
        """Return the cursor of a position, good only for the list of that name."""
        payload = dumps([_pack(value) for value in position])
        return _to_base64(self._sign(listing, payload) + payload)

    def decode(self, listing: str, cursor: str) -> tuple[CursorValue, ...]:
        """Return the position of a cursor that this list gave out; raise InvalidCursorError for any other text."""
        content = _from_base64(cursor)
        payload = content[_MAC_BYTES:]
        if not hmac.compare_digest(content[:_MAC_BYTES], self._sign(listing, payload)):
            raise InvalidCursorError("The cursor is not one that this list gave out.")
        packed = loads(payload)
        assert isinstance(packed, list)  # noqa: S101 - signed by us
        return tuple(_unpack(pair) for pair in packed)

    def _sign(self, listing: str, payload: bytes) -> bytes:
        # The length keeps a list's name and the position apart.
        name = listing.encode()
        message = len(name).to_bytes(4) + name + payload
        return hmac.digest(self._key, message, hashlib.sha256)[:_MAC_BYTES]


@dataclass(frozen=True, slots=True)
class PageParams:
    """The page that a caller asks for; `listing` names the list, `on_next` hears of the next page's cursor."""

    signer: CursorSigner = field(repr=False)
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None
    listing: str = ""
    on_next: Callable[[str], None] | None = field(default=None, repr=False)

    async def fetch(
        self,
        session: "AsyncSession",
        statement: "Select[ItemT]",
        *columns: "InstrumentedAttribute[Any]",  # columns of any type order a list
        descending: bool = False,
    ) -> Page[ItemT]:
        """Return the page of an entity's select, ordered by the columns; raise InvalidCursorError.

        The columns together must be unique and never null, such as `(created_at, id)`; an index on them makes every
        page as cheap as the first.
        """
        # The order is part of the name: a position means nothing in another one.
        listing = "|".join(
            [self.listing, *(column.key for column in columns), "desc" if descending else "asc"]
        )
        after = None if self.cursor is None else self.signer.decode(listing, self.cursor)
        limited = after_position(statement, *columns, after=after, descending=descending).limit(
            self.limit + 1
        )
        items = list(await session.scalars(limited))
        if len(items) <= self.limit:
            return Page[Any](items=items)
        items.pop()
        cursor = self.signer.encode(listing, tuple(getattr(items[-1], column.key) for column in columns))
        if self.on_next is not None:
            self.on_next(cursor)
        return Page[Any](items=items, next_cursor=cursor)


def after_position(
    statement: "Select[ItemT]",
    *columns: "InstrumentedAttribute[Any]",
    after: tuple[CursorValue, ...] | None,
    descending: bool = False,
) -> "Select[ItemT]":
    """Order a select by the columns, all in one direction, and leave out everything up to a position."""
    # Imported here: the gateway has lists and no database.
    from sqlalchemy import literal, tuple_

    ordered = statement.order_by(*(column.desc() if descending else column.asc() for column in columns))
    if after is None:
        return ordered
    here = tuple_(*columns)
    there = tuple_(*(literal(value, column.type) for value, column in zip(after, columns, strict=True)))
    return ordered.where(here < there if descending else here > there)


async def page_params(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items on a page.")] = DEFAULT_LIMIT,
    cursor: Annotated[
        str | None, Query(description="`nextCursor` of the page before; the first page without it.")
    ] = None,
) -> PageParams:
    """Read the page asked for. The list is named by its path, so that no other list takes its cursors."""

    def link_next(next_cursor: str) -> None:
        response.headers.append("Link", f'<{next_page_reference(request.scope, next_cursor)}>; rel="next"')

    return PageParams(
        signer=_signer_of(request.app),
        limit=limit,
        cursor=cursor,
        listing=request.url.path,
        on_next=link_next,
    )


PageParamsDep = Annotated[PageParams, Depends(page_params)]


def next_page_reference(scope: Scope, cursor: str) -> str:
    """Return a relative reference to the request's own path and query with another cursor (RFC 8288, RFC 3986).

    Relative, since the host that this process sees is not the one that the caller asked.
    """
    # As sent: decoding would turn an encoded slash into a real one. Some servers leave the query on it.
    raw_path, _, _ = (scope.get("raw_path") or quote(scope["path"]).encode()).partition(b"?")
    # A second slash in front would make the rest a host name.
    path = "/" + quote(raw_path, safe=_PATH_CHARACTERS).lstrip("/")
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    kept = [(name, value) for name, value in query if name != "cursor"]
    return f"{path}?{urlencode([*kept, ('cursor', cursor)])}"


def _signer_of(app: FastAPI) -> CursorSigner:
    signer: CursorSigner | None = getattr(app.state, "cursor_signer", None)
    if signer is None:
        signer = CursorSigner(derive_key(app.state.settings.secret_key, "cursors"))
        app.state.cursor_signer = signer
    return signer


def _pack(value: CursorValue) -> list[str | int]:
    match value:
        case datetime():
            return ["t", value.isoformat()]
        case UUID():
            return ["u", value.hex]
        case _:
            return ["v", value]


def _unpack(pair: object) -> CursorValue:
    match pair:
        case ["t", str(moment)]:
            return datetime.fromisoformat(moment)
        case ["u", str(digits)]:
            return UUID(digits)
        case [_, str() | int() as value]:
            return value
        case _:
            raise InvalidCursorError("The cursor is of an earlier version; begin again.")


def _to_base64(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _from_base64(text: str) -> bytes:
    """Decode exactly what `_to_base64` writes: one text for one content, nothing skipped."""
    try:
        content = urlsafe_b64decode(text[:_LONGEST_CURSOR].encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        content = b""
    return content if _to_base64(content) == text else b""
