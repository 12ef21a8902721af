"""The door before FastAPI says what the routes say, and leaves to them whatever it does not understand."""

import json
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI
from services.flags.tests.factories import customer, definition, document, operator, settings, targeted
from starlette.types import Message, Receive, Scope, Send

from undercroft.flags.domain import FlagSet, compile_flag_set
from undercroft.flags.main import create_app, install
from undercroft.flags.service.snapshots import SnapshotStore
from undercroft.shared.db import Database
from undercroft.shared.logs import configure_logging

ALL = "/ofrep/v1/evaluate/flags"
ONE = f"{ALL}/switch"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def behind(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client that passes the door by."""

    async def routes(scope: Scope, receive: Receive, send: Send) -> None:
        await FastAPI.__call__(app, scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(routes), base_url="http://flags") as client:
        yield client


@pytest.fixture(autouse=True)
async def flags(client: httpx.AsyncClient) -> None:
    """Two flags, of which one is targeted."""
    rule = {"if": [{"==": [{"var": "plan"}, "pro"]}, "on"]}
    await client.put(
        "/v1/environments/production/flagd", json=document(switch=definition(), pro=targeted(rule))
    )


@pytest.mark.parametrize("path", [ALL, f"{ALL}/", f"{ALL}/pro", f"{ALL}/a/b%20c"])
@pytest.mark.parametrize("body", [b"", b'{"context":{"plan":"pro"}}', b"{", b'{"context":[]}'])
async def test_the_door_answers_like_the_routes(
    client: httpx.AsyncClient, behind: httpx.AsyncClient, path: str, body: bytes
):
    given = {**JSON, **operator(), "Request-Id": "req-1"}
    assert seen(await client.post(path, content=body, headers=given)) == seen(
        await behind.post(path, content=body, headers=given)
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/problem+json"},
        {"Content-Type": "text/plain"},
        {"If-None-Match": "*"},
        {"If-None-Match": '"other"'},
        {"If-None-Match": "no tag"},
    ],
)
async def test_the_door_reads_headers_like_the_routes(
    client: httpx.AsyncClient, behind: httpx.AsyncClient, headers: Mapping[str, str]
):
    given = {**JSON, **operator(), **headers, "Request-Id": "req-1"}
    assert seen(await client.post(ALL, content=b"{}", headers=given)) == seen(
        await behind.post(ALL, content=b"{}", headers=given)
    )


def seen(answer: httpx.Response) -> tuple[int, bytes, Mapping[str, str]]:
    return answer.status_code, answer.content, dict(answer.headers)


async def test_the_door_answers_an_etag_like_the_routes(client: httpx.AsyncClient, behind: httpx.AsyncClient):
    etag = (await client.post(ALL, json={})).headers["ETag"]
    given = {**operator(), "If-None-Match": etag}
    for each in (client, behind):
        assert (await each.post(ALL, json={}, headers=given)).status_code == 304


@pytest.mark.parametrize("headers", [{}, {"Undercroft-Principal": "nonsense"}])
async def test_the_door_admits_nobody_whom_the_routes_would_not(app: FastAPI, headers: Mapping[str, str]):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://flags", headers=headers) as anybody:
        assert [(await anybody.post(path, json={})).status_code for path in (ALL, ONE)] == [401, 401]


async def test_a_body_that_declares_too_much_is_refused_before_it_is_received(app: FastAPI):
    headers = [*httpx.Headers({**operator(), **JSON}).raw, (b"Content-Length", b"2000000")]
    assert await statuses(app, headers, []) == [413]


async def test_a_body_in_pieces_is_evaluated(app: FastAPI):
    body = json.dumps({"context": {"text": "x" * 40_000}}).encode()
    pieces = [body[:10], body[10:20_000], body[20_000:]]
    assert await statuses(app, httpx.Headers({**operator(), **JSON}).raw, pieces) == [200]


async def test_a_header_that_was_sent_twice_is_left_to_the_routes(app: FastAPI):
    headers = httpx.Headers({**operator(), **JSON}).raw
    assert await statuses(app, [*headers, (b"Content-Type", b"text/plain")], [b"{}"]) == [200]
    assert await statuses(app, [*headers, *httpx.Headers(operator()).raw], [b"{}"]) == [401]


async def statuses(app: FastAPI, headers: list[tuple[bytes, bytes]], pieces: list[bytes]) -> list[int]:
    """Send a request by hand; nothing may be received beyond the pieces."""
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]} for piece in pieces
    ]
    sent: list[int] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            sent.append(message["status"])

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": ONE,
        "raw_path": ONE.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("flags", 80),
        "headers": [(name.lower(), value) for name, value in headers],
    }
    await app(scope, receive, send)
    return sent


async def test_what_the_door_answers_is_measured_and_logged(
    database: Database, capsys: pytest.CaptureFixture[str]
):
    configure_logging(log_format="json", log_level="info", service_name="flags")
    app = create_app(
        settings("postgresql+asyncpg://nobody@localhost/nowhere").model_copy(update={"access_log": True})
    )
    install(app, database)
    await app.state.snapshot_refresher.refresh()
    transport = httpx.ASGITransport(app)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {**customer(), "Request-Id": "req-7", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    async with httpx.AsyncClient(transport=transport, base_url="http://flags", headers=headers) as client:
        assert (await client.post(ONE, json={})).headers["Request-Id"] == "req-7"
        assert (await client.post(ALL, json={})).headers["Request-Id"] == "req-7"
        metrics = (await client.get("/metrics")).text
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["path"], line["status"], line["request_id"], line["trace_id"]) for line in lines] == [
        (f"{ALL}/{{key:path}}", 200, "req-7", trace),
        (ALL, 200, "req-7", trace),
    ]
    assert "http_server_request_duration_seconds_count{" in metrics
    assert f'http_route="{ALL}"' in metrics


async def test_what_is_not_compiled_yet_is_compiled_beside_the_event_loop(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
):
    prepared = await client.post(ALL, json={}, headers=operator())
    store: SnapshotStore = app.state.snapshot_store
    flags = compile_flag_set(document(**{f"flag-{number}": definition() for number in range(450)}))
    store.swap([replace(each, flags=flags) for each in store.all()])
    threads: list[str] = []
    prepare = FlagSet.prepare

    def noted(self: FlagSet, at_most: int) -> bool:
        threads.append(threading.current_thread().name)
        return prepare(self, at_most)

    monkeypatch.setattr(FlagSet, "prepare", noted)
    assert not flags.is_prepared
    answer = await client.post(ALL, json={}, headers=operator())
    assert (prepared.status_code, answer.status_code, len(answer.json()["flags"])) == (200, 200, 450)
    assert len(threads) == 3
    assert threading.main_thread().name not in threads
