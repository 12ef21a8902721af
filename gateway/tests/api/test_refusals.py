import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Message

from .conftest import Gateway, StartGateway


@pytest.fixture
def headers(gateway: Gateway) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.identity.issue('flags:read')}"}


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    body = answer.json()
    return (
        answer.status_code == status == body["status"]
        and body["code"] == code
        and answer.headers["content-type"] == "application/problem+json"
        and body["requestId"] == answer.headers["request-id"]
    )


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nothing", "/internal/events", "/internal/api-keys/verify", "/v1/flagsx"]
)
async def test_what_no_route_leads_to_is_not_found(gateway: Gateway, headers: dict[str, str], path: str):
    answer = await gateway.client.get(path, headers=headers)
    assert is_problem(answer, 404, "route_not_found")
    assert answer.json()["instance"] == path


async def test_a_method_that_is_not_offered(gateway: Gateway, headers: dict[str, str]):
    answer = await gateway.client.put("/ofrep/v1/configuration", headers=headers)
    assert is_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_a_method_that_nobody_knows(gateway: Gateway):
    answer = await gateway.client.request("BREW", "/v1/flags")
    assert is_problem(answer, 501, "not_implemented")


async def test_options_tells_what_is_offered(gateway: Gateway):
    answer = await gateway.client.options("/ofrep/v1/configuration")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


async def raw_call(gateway: Gateway, path: str, *, query: bytes = b"") -> int:
    """Call without a client that would tidy the target up."""
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "http_version": "1.1",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [(b"x-api-key", gateway.identity.issue("operator").encode())],
        "client": None,
        "server": ("gateway", 80),
    }
    await gateway.app(scope, receive, send)
    return statuses[0]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/flags/../../internal/events",
        "/v1/flags/%2e%2e/internal",
        "/v1/flags%2f..%2finternal",
        "/v1//flags",
        "//internal/events",
        "/v1/flags/%00",
        "/v1/flags/%ff",
        "/v1/flags/\\..\\x",
    ],
)
async def test_tricks_with_the_path_reach_nobody(gateway: Gateway, path: str):
    assert await raw_call(gateway, path) == 400
    assert gateway.flags.requests == []


async def test_a_broken_query_reaches_nobody(gateway: Gateway):
    assert await raw_call(gateway, "/v1/flags", query=b"a=\xff") == 400


async def test_a_target_that_is_too_long(gateway: Gateway, headers: dict[str, str]):
    answer = await gateway.client.get("/v1/flags?" + "a" * 9_000, headers=headers)
    assert is_problem(answer, 414, "target_too_long")


async def test_headers_that_are_too_large(gateway: Gateway, headers: dict[str, str]):
    answer = await gateway.client.get("/v1/flags", headers={**headers, "X-Large": "x" * 40_000})
    assert is_problem(answer, 431, "headers_too_large")


async def test_two_lengths_are_refused(gateway: Gateway, headers: dict[str, str]):
    both = {**headers, "Content-Length": "3", "Transfer-Encoding": "chunked"}
    answer = await gateway.client.post("/v1/flags", headers=both, content=b"abc")
    assert is_problem(answer, 400, "malformed_request")


async def test_a_body_that_announces_too_much_is_not_read(gateway: Gateway, headers: dict[str, str]):
    was_read = asyncio.Event()

    async def unread() -> AsyncIterator[bytes]:
        was_read.set()
        yield b""

    announced = {**headers, "Content-Length": str(2 * 1024 * 1024)}
    answer = await gateway.client.post("/v1/flags", headers=announced, content=unread())
    assert is_problem(answer, 413, "payload_too_large")
    assert answer.headers["connection"] == "close"
    assert not was_read.is_set()


@pytest.mark.parametrize(
    "sizes", [[1024 * 1024 + 1], [700_000, 700_000]], ids=["one piece", "several pieces"]
)
async def test_a_body_that_turns_out_too_large_is_cut(
    gateway: Gateway, headers: dict[str, str], sizes: list[int]
):
    async def chunks() -> AsyncIterator[bytes]:
        for size in sizes:
            yield b"x" * size

    answer = await gateway.client.post("/v1/flags", headers=headers, content=chunks())
    assert is_problem(answer, 413, "payload_too_large")
    assert gateway.flags.requests == []


async def test_a_body_that_does_not_come_is_not_waited_for(start_gateway: StartGateway):
    async with start_gateway(body_read_seconds=0.05) as gateway:
        headers = {"X-API-Key": gateway.identity.issue("flags:read")}

        async def stalled() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.sleep(5)

        answer = await gateway.client.post("/v1/flags", headers=headers, content=stalled())
        assert is_problem(answer, 408, "request_timeout")
        assert answer.headers["connection"] == "close"


async def test_a_crash_of_the_gateway_tells_nothing(
    gateway: Gateway, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    def crash(*_: object) -> None:
        raise KeyError("internal detail")

    monkeypatch.setattr("undercroft.gateway.proxy.pipeline.check_target", crash)
    answer = await gateway.client.get("/v1/flags", headers=headers)
    assert is_problem(answer, 500, "internal_error")
    assert "internal detail" not in answer.text


async def test_other_protocols_are_not_offered(gateway: Gateway):
    sent = []

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    scope = {"type": "websocket", "path": "/v1/flags", "headers": [], "query_string": b"", "root_path": ""}
    await gateway.app(scope, receive, send)
    assert sent == ["websocket.close"]
