"""The service as a whole: its command, its documentation, its background work."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from services.flags.tests.factories import operator
from starlette.types import Message, Scope

from undercroft.flags.main import main
from undercroft.flags.models import idempotency_keys
from undercroft.flags.worker import prune
from undercroft.shared.db import Database
from undercroft.shared.errors import UnavailableError


def test_the_command_prints_the_openapi_document(capsysbinary: pytest.CaptureFixture[bytes]):
    main(["openapi"])
    document = json.loads(capsysbinary.readouterr().out)
    single = document["paths"]["/ofrep/v1/evaluate/flags/{key}"]["post"]
    assert {each["name"] for each in single["parameters"]} == {"key", "environment"}
    assert "context" in json.dumps(single["requestBody"])
    assert set(single["responses"]) >= {"200", "400", "404"}
    assert "/internal/events" not in document["paths"]


async def test_expired_answers_are_pruned(database: Database):
    row = {"key_hash": b"k", "fingerprint": b"f", "answer": b"a"}
    yesterday = datetime.now(UTC) - timedelta(days=1)
    async with database.session() as session:
        await session.execute(sa.insert(idempotency_keys).values(**row, expires_at=yesterday))
        await session.commit()
    await run_for_a_moment(database)
    async with database.session() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(idempotency_keys)) == 0


async def test_pruning_outlives_an_outage(database: Database, monkeypatch: pytest.MonkeyPatch):
    def away() -> None:
        raise UnavailableError("away")

    monkeypatch.setattr(database, "session", away)
    await run_for_a_moment(database)


async def run_for_a_moment(database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await prune(database, interval_seconds=0.01)


async def test_a_body_in_pieces_is_read_whole_and_an_oversized_one_refused(app: FastAPI):
    assert await post_pieces(app, b'{"con', b'text":{}}') == 404
    assert await post_pieces(app, b" " * 60_000, b" " * 60_000) == 413
    assert await post_pieces(app, b" " * 2_000_000) == 413


async def test_a_caller_that_goes_away_gets_no_answer(app: FastAPI):
    assert await post_pieces(app, b'{"con', goes_away=True) is None


async def post_pieces(app: FastAPI, *pieces: bytes, goes_away: bool = False) -> int | None:
    """Send a chunked body, as a server hands it over; return the answer's status."""
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": goes_away or piece is not pieces[-1]}
        for piece in pieces
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = httpx.Headers({**operator(), "Transfer-Encoding": "chunked"}).raw
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/ofrep/v1/evaluate/flags/new-checkout",
        "raw_path": b"/ofrep/v1/evaluate/flags/new-checkout",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("flags", 80),
        "headers": [(name.lower(), value) for name, value in headers],
    }
    await app(scope, receive, send)
    return sent[0]["status"] if sent else None


async def test_paths_beside_evaluation_are_not_found(client: httpx.AsyncClient):
    for path in ("/ofrep/v1/evaluate/flagsx", "/ofrep/v1/configuration"):
        missing = await client.post(path, json={})
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
