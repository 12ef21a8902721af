"""Questions that come whole, as servers hand them on, are answered past the framework as by their routes."""

from collections.abc import Mapping

import httpx
import pytest
from fastapi import FastAPI
from services.identity.tests.factories import GATEWAY, create_key
from starlette.types import Message

from undercroft.shared.serialization import JsonValue, dumps, loads

VERIFY = "/internal/api-keys/verify"
ACCESS = "/internal/access"
PLAIN = {"content-type": "application/json"}


async def ask(app: FastAPI, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, JsonValue]:
    """Ask with the body in one message."""
    answers: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        answers.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": raw,
        "state": {},
    }
    await app(scope, receive, send)
    return answers[0]["status"], loads(b"".join(each.get("body", b"") for each in answers[1:]))


async def test_a_good_secret_opens_the_same_both_ways(client: httpx.AsyncClient, app: FastAPI):
    secret = (await create_key(client))["secret"]
    by_route = await client.post(VERIFY, json={"secret": secret}, headers=GATEWAY)
    assert by_route.status_code == 200
    assert await ask(app, VERIFY, dumps({"secret": secret}), {**PLAIN, **GATEWAY}) == (200, by_route.json())


@pytest.mark.parametrize(
    ("path", "body", "headers", "refusal"),
    [
        # A principal is signed when it is asked for: it lives a minute, and tests are collected long before.
        (VERIFY, {"secret": "nonsense"}, (PLAIN, GATEWAY), (404, "api_key_invalid")),
        (VERIFY, {"secret": 7}, (PLAIN, GATEWAY), (422, "validation_failed")),
        (VERIFY, {"secret": "nonsense"}, (PLAIN,), (401, "unauthenticated")),
        (VERIFY, {"secret": "nonsense"}, (GATEWAY,), (415, "unsupported_media_type")),
        (ACCESS, {"subject": "x", "tokenId": "y"}, (PLAIN, GATEWAY), (404, "access_ended")),
        (ACCESS, {"subject": "x"}, (PLAIN, GATEWAY), (422, "validation_failed")),
        (ACCESS, {"subject": "x", "tokenId": "y"}, (PLAIN,), (401, "unauthenticated")),
    ],
)
async def test_what_is_refused(
    app: FastAPI,
    path: str,
    body: JsonValue,
    headers: tuple[Mapping[str, str], ...],
    refusal: tuple[int, str],
):
    sent = {name: value for each in headers for name, value in each.items()}
    told, problem = await ask(app, path, dumps(body), sent)
    assert isinstance(problem, dict)
    assert (told, problem["code"]) == refusal
