from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI, Request, Response
from httpx import ASGITransport, AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Mapped, mapped_column

from undercroft.shared import pagination
from undercroft.shared.db import Database, SessionDep
from undercroft.shared.errors import ServiceError, problem_response
from undercroft.shared.ids import IdOf
from undercroft.shared.pagination import (
    CursorSigner,
    InvalidCursorError,
    Page,
    PageParams,
    PageParamsDep,
    next_page_reference,
)
from undercroft.shared.serialization import WireModel, dumps

SIGNER = CursorSigner(b"k" * 32)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


class Base(DeclarativeBase):
    pass


class Flag(Base):
    __tablename__ = "paged_flags"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True))
    rank: Mapped[int]
    name: Mapped[str]


class FlagRead(WireModel):
    id: Annotated[UUID, IdOf("flg")]
    name: str


class FlagPage(Page[FlagRead]): ...


def flag(number: int) -> Flag:
    # Threes share a time, so that the second column decides.
    moment = BEGIN + timedelta(microseconds=number // 3)
    return Flag(id=UUID(int=number), created_at=moment, rank=-number, name=f"flag-{number:02}")


@pytest.fixture(scope="module")
async def database(create_database: Callable[[], Awaitable[str]]) -> AsyncIterator[Database]:
    database = Database(await create_database(), application_name="test", pool_size=2)
    async with database.begin() as session:
        await session.run_sync(lambda sync: Base.metadata.create_all(sync.connection()))
        session.add_all(flag(number) for number in reversed(range(10)))
    yield database
    await database.dispose()


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    async with database.session() as session:
        yield session


@pytest.fixture
async def client(database: Database) -> AsyncIterator[AsyncClient]:
    app = FastAPI()
    app.state.database = database
    app.state.settings = SimpleNamespace(secret_key=SecretStr("s" * 32))

    @app.exception_handler(ServiceError)
    async def render(_request: Request, error: ServiceError) -> Response:
        return problem_response(error, instance=None, request_id=None)

    @app.get("/v1/flags")
    @app.get("/v1/owners/{owner}/flags")
    async def list_flags(session: SessionDep, page: PageParamsDep) -> FlagPage:
        return FlagPage.of(await page.fetch(session, sa.select(Flag), Flag.created_at, Flag.id))

    async with AsyncClient(transport=ASGITransport(app), base_url="http://internal:8000") as client:
        yield client


def names(page: Page[Flag]) -> list[str]:
    return [item.name.removeprefix("flag-") for item in page.items]


def next_link(response: httpx.Response) -> str:
    return response.links["next"]["url"]


async def pages_of(
    session: AsyncSession, limit: int, *columns: InstrumentedAttribute[Any], descending: bool = False
) -> list[Page[Flag]]:
    pages: list[Page[Flag]] = []
    cursor: str | None = None
    while cursor or not pages:
        page = PageParams(SIGNER, limit=limit, cursor=cursor)
        pages.append(await page.fetch(session, sa.select(Flag), *columns, descending=descending))
        cursor = pages[-1].next_cursor
    return pages


@pytest.mark.parametrize("limit", [1, 3, 4, 9, 10, 11])
async def test_pages_show_every_row_once_in_order(session: AsyncSession, limit: int):
    pages = await pages_of(session, limit, Flag.created_at, Flag.id)
    shown = [name for page in pages for name in names(page)]
    assert shown == [f"{number:02}" for number in range(10)]
    assert all(len(page.items) == limit for page in pages[:-1])


async def test_pages_can_descend(session: AsyncSession):
    pages = await pages_of(session, 4, Flag.created_at, Flag.id, descending=True)
    assert [names(page) for page in pages] == [
        ["09", "08", "07", "06"],
        ["05", "04", "03", "02"],
        ["01", "00"],
    ]


@pytest.mark.parametrize("column", [Flag.id, Flag.name, Flag.rank, Flag.created_at])
async def test_columns_of_several_types_order_a_list(
    session: AsyncSession, column: InstrumentedAttribute[Any]
):
    pages = await pages_of(session, 6, column, Flag.id)
    assert sum(len(page.items) for page in pages) == 10
    assert len(pages) == 2


async def test_a_row_added_meanwhile_moves_no_page(session: AsyncSession):
    first = await PageParams(SIGNER, limit=4).fetch(session, sa.select(Flag), Flag.rank)
    session.add(Flag(id=UUID(int=99), created_at=BEGIN, rank=-99, name="flag-99"))
    await session.flush()
    second = await PageParams(SIGNER, limit=4, cursor=first.next_cursor).fetch(
        session, sa.select(Flag), Flag.rank
    )
    assert (names(first), names(second)) == (["09", "08", "07", "06"], ["05", "04", "03", "02"])


async def test_the_statement_keeps_its_own_conditions(session: AsyncSession):
    statement = sa.select(Flag).where(Flag.rank > -3)
    page = await PageParams(SIGNER, limit=3).fetch(session, statement, Flag.id)
    assert (names(page), page.next_cursor) == (["00", "01", "02"], None)


async def test_a_cursor_is_refused_in_another_order(session: AsyncSession):
    first = await PageParams(SIGNER, limit=4).fetch(session, sa.select(Flag), Flag.created_at, Flag.id)
    again = PageParams(SIGNER, limit=4, cursor=first.next_cursor)
    with pytest.raises(InvalidCursorError):
        await again.fetch(session, sa.select(Flag), Flag.created_at, Flag.id, descending=True)
    with pytest.raises(InvalidCursorError):
        await again.fetch(session, sa.select(Flag), Flag.name, Flag.id)


async def test_the_answer_has_items_a_cursor_and_a_relative_link(client: AsyncClient):
    answer = await client.get("/v1/flags", params={"limit": 2, "q": "a b&c", "empty": ""})
    body = answer.json()
    assert [item["name"] for item in body["items"]] == ["flag-00", "flag-01"]
    assert body["items"][0]["id"] == "flg_00000000000000000000000000"
    link = urlsplit(next_link(answer))
    assert (link.scheme, link.netloc, link.path) == ("", "", "/v1/flags")
    assert parse_qs(link.query, keep_blank_values=True) == {
        "limit": ["2"],
        "q": ["a b&c"],
        "empty": [""],
        "cursor": [body["nextCursor"]],
    }


async def test_following_the_links_ends_without_one(client: AsyncClient):
    answer = await client.get("/v1/flags", params={"limit": 4})
    seen = [item["name"] for item in answer.json()["items"]]
    for _ in range(2):
        answer = await client.get(next_link(answer))
        seen += [item["name"] for item in answer.json()["items"]]
    assert seen == [f"flag-{number:02}" for number in range(10)]
    assert answer.json()["nextCursor"] is None
    assert "link" not in answer.headers


async def test_fifty_items_unless_asked(client: AsyncClient):
    answer = await client.get("/v1/flags")
    assert len(answer.json()["items"]) == 10
    assert PageParams(SIGNER).limit == 50


@pytest.mark.parametrize("limit", ["0", "201", "-1", "many", "1.5", ""])
async def test_a_limit_out_of_bounds_is_refused(client: AsyncClient, limit: str):
    assert (await client.get("/v1/flags", params={"limit": limit})).status_code == 422
    assert (await client.get("/v1/flags", params={"limit": "200"})).status_code == 200


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é", "A" * 10_000, "%00", "=="])
async def test_a_bad_cursor_is_a_bad_request(client: AsyncClient, cursor: str):
    answer = await client.get("/v1/flags", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_a_cursor_is_refused_in_another_list(client: AsyncClient):
    cursor = (await client.get("/v1/flags", params={"limit": 2})).json()["nextCursor"]
    answer = await client.get("/v1/owners/1/flags", params={"limit": 2, "cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_a_cursor_survives_another_limit(client: AsyncClient):
    cursor = (await client.get("/v1/flags", params={"limit": 2})).json()["nextCursor"]
    answer = await client.get("/v1/flags", params={"limit": 1, "cursor": cursor})
    assert [item["name"] for item in answer.json()["items"]] == ["flag-02"]


@given(
    st.lists(
        st.one_of(
            st.text(st.characters(codec="utf-8"), max_size=40),
            st.integers(-(2**63), 2**63 - 1),
            st.datetimes(timezones=st.just(UTC)),
            st.uuids(),
        ),
        max_size=5,
    ).map(tuple)
)
def test_a_cursor_reads_back(position: tuple[str | int | datetime | UUID, ...]):
    cursor = SIGNER.encode("flags", position)
    assert SIGNER.decode("flags", cursor) == position
    assert cursor.replace("-", "").replace("_", "").isalnum()


def altered(cursor: str) -> Iterator[str]:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=.~"
    for index, old in enumerate(cursor):
        yield from (cursor[:index] + new + cursor[index + 1 :] for new in alphabet if new != old)
        yield cursor[:index]
        yield f"{cursor[:index]} {cursor[index:]}"
    yield from (cursor + more for more in ("=", "A", "\n", "AAAA"))


def test_no_altered_cursor_is_read():
    cursor = SIGNER.encode("flags", (BEGIN, UUID(int=7)))
    for wrong in altered(cursor):
        with pytest.raises(InvalidCursorError):
            SIGNER.decode("flags", wrong)


def test_a_cursor_of_another_key_or_list_is_refused():
    cursor = SIGNER.encode("flags", (1,))
    for signer, listing in [(CursorSigner(b"x" * 32), "flags"), (SIGNER, "flag"), (SIGNER, "flags2")]:
        with pytest.raises(InvalidCursorError):
            signer.decode(listing, cursor)


def test_a_signed_position_of_another_form_is_refused():
    payload = dumps([["d", 1.5]])
    content = SIGNER._sign("flags", payload) + payload
    cursor = pagination._to_base64(content)
    with pytest.raises(InvalidCursorError, match="begin again"):
        SIGNER.decode("flags", cursor)


def test_a_signer_keeps_its_key_to_itself():
    assert "kkkk" not in repr(PageParams(SIGNER))


@pytest.mark.parametrize(
    ("path", "reference"),
    [
        (b"/v1/flags", "/v1/flags?cursor=c"),
        (b"/v1/a%2Fb/flags", "/v1/a%2Fb/flags?cursor=c"),
        (b"/v1/flags?cursor=old", "/v1/flags?cursor=c"),
        (b"//evil.example/v1", "/evil.example/v1?cursor=c"),
        (b'/v1/>; rel="x', "/v1/%3E;%20rel=%22x?cursor=c"),
    ],
)
def test_the_link_stays_on_this_host_and_inside_its_brackets(path: bytes, reference: str):
    assert next_page_reference({"raw_path": path, "query_string": b"cursor=old"}, "c") == reference


def test_a_server_without_raw_paths_will_do():
    assert next_page_reference({"path": "/v1/é", "query_string": b""}, "c") == "/v1/%C3%A9?cursor=c"
