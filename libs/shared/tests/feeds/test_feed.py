import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI, Request, Response

from undercroft.shared.auth import PrincipalKeys, PrincipalVerifier
from undercroft.shared.db import Database
from undercroft.shared.errors import ServiceError, problem_response
from undercroft.shared.events.feed import feed_router
from undercroft.shared.events.outbox import Cursor
from undercroft.shared.http_client import InProcessTransport
from undercroft.shared.notifications import NotificationListener
from undercroft.shared.testing import api_key_principal, principal_headers, principal_keys, service_headers

Emit = Callable[..., Awaitable[None]]
Read = Callable[..., Coroutine[None, None, httpx.Response]]


@pytest.fixture
def app(database: Database, outbox: sa.Table, listener: NotificationListener) -> FastAPI:
    app = FastAPI()
    app.state.database = database
    app.state.notifications = listener
    app.state.is_draining = False
    app.state.principal_verifier = PrincipalVerifier("identity", PrincipalKeys(principal_keys("identity")))
    app.include_router(feed_router(outbox))

    @app.exception_handler(ServiceError)
    async def render(_: Request, error: ServiceError) -> Response:
        return problem_response(error, instance=None, request_id=None)

    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = InProcessTransport({"identity": app})
    headers = service_headers("gateway", audience="identity")
    async with httpx.AsyncClient(transport=transport, base_url="http://identity", headers=headers) as client:
        yield client


@pytest.fixture
def read(client: httpx.AsyncClient) -> Read:
    async def read(after: str | None = None, **query: float) -> httpx.Response:
        return await client.get("/internal/events", params={"after": after, **query} if after else query)

    return read


def subjects(response: httpx.Response) -> list[str]:
    return [event["subject"] for event in response.json()["items"]]


def cursor_of(response: httpx.Response) -> str:
    return str(response.json()["nextCursor"])


async def test_start_serves_the_oldest_event_kept(read: Read, emit: Emit):
    await emit("a", "b", "c")
    first = await read("start", limit=2, wait=1)
    rest = await read(cursor_of(first), wait=1)
    assert (subjects(first), subjects(rest)) == (["a", "b"], ["c"])


async def test_the_default_is_the_tail(read: Read, emit: Emit):
    await emit("old")
    await read("start", wait=1)
    tail = await read()
    await emit("new")
    assert subjects(tail) == []
    assert subjects(await read(cursor_of(tail), wait=1)) == ["new"]


async def test_an_empty_page_returns_the_cursor_that_was_given(read: Read):
    cursor = cursor_of(await read("tail"))
    assert cursor_of(await read(cursor)) == cursor


async def test_a_long_poll_is_woken_by_the_commit_and_not_before(read: Read, emit: Emit, database: Database):
    cursor = cursor_of(await read())
    poll = asyncio.create_task(read(cursor, wait=10))
    async with database.session() as session:
        await emit("slow", session=session)
        await asyncio.sleep(0.3)
        assert not poll.done()
        committed = time.monotonic()
        await session.commit()
    assert subjects(await poll) == ["slow"]
    assert time.monotonic() - committed < 0.5


async def test_a_long_poll_sees_the_end_of_an_older_transaction_soon(
    read: Read, emit: Emit, database: Database
):
    cursor = cursor_of(await read())
    async with database.session() as older:
        await older.execute(sa.text("SELECT pg_current_xact_id()"))
        await emit("waiting")
        poll = asyncio.create_task(read(cursor, wait=10))
        await asyncio.sleep(0.5)
        assert not poll.done()
        ended = time.monotonic()
        await older.rollback()
    assert subjects(await poll) == ["waiting"]
    assert time.monotonic() - ended < 0.5


async def test_a_long_poll_ends_empty_after_its_wait(read: Read):
    started = time.monotonic()
    answer = await read("tail", wait=0.2)
    assert subjects(answer) == []
    assert 0.2 <= time.monotonic() - started < 1


async def test_waiting_holds_no_connection(read: Read, emit: Emit, database: Database):
    polls = [asyncio.create_task(read("tail", wait=10)) for _ in range(20)]
    await asyncio.sleep(0.5)
    async with asyncio.timeout(3):
        while database.engine.pool.checkedout():  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await emit("news")
    assert [subjects(await poll) for poll in polls] == [["news"]] * 20


async def test_a_missed_notification_is_made_up_for(
    read: Read, emit: Emit, listener: NotificationListener, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("undercroft.shared.events.feed._FALLBACK_SECONDS", 0.1)
    monkeypatch.setattr(listener, "_wake", lambda *_: None)
    poll = asyncio.create_task(read("tail", wait=10))
    await asyncio.sleep(0.05)
    await emit("unheard")
    assert subjects(await asyncio.wait_for(poll, 2)) == ["unheard"]


async def test_a_draining_process_lets_nobody_wait(read: Read, app: FastAPI, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("undercroft.shared.events.feed._SLICE_SECONDS", 0.05)
    poll = asyncio.create_task(read("tail", wait=10))
    await asyncio.sleep(0.2)
    app.state.is_draining = True
    assert (await asyncio.wait_for(poll, 1)).status_code == 200
    assert (await asyncio.wait_for(read("tail", wait=10), 1)).status_code == 200


async def test_a_malformed_cursor_is_a_bad_request(read: Read):
    answer = await read("nonsense")
    assert (answer.status_code, answer.json()["code"]) == (400, "feed_cursor_invalid")


async def test_a_cursor_that_is_no_longer_served_is_gone(read: Read):
    answer = await read(Cursor(2**50, 1).encode())
    assert (answer.status_code, answer.json()["code"]) == (410, "feed_cursor_gone")


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"wait": -1}, {"wait": 31}])
async def test_limits_are_enforced(read: Read, query: dict[str, float]):
    assert (await read("tail", **query)).status_code == 422


async def test_the_feed_is_closed_to_everybody_without_a_principal(app: FastAPI):
    transport = InProcessTransport({"identity": app})
    async with httpx.AsyncClient(transport=transport, base_url="http://identity") as client:
        answer = await client.get("/internal/events")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_the_feed_does_not_exist_for_callers_that_are_no_service(client: httpx.AsyncClient):
    headers = principal_headers(api_key_principal("operator"), audience="identity")
    answer = await client.get("/internal/events", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
