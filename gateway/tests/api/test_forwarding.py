import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Scope, Send

from undercroft.shared.auth import PrincipalKeys, PrincipalVerifier
from undercroft.shared.testing import principal_keys

from .conftest import Gateway, StartGateway


@pytest.fixture
def headers(gateway: Gateway) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.identity.issue('flags:read')}"}


async def test_path_query_and_body_arrive_unchanged(gateway: Gateway, headers: dict[str, str]):
    answer = await gateway.client.post(
        "/v1/flags/caf%C3%A9?x=%20&y=a+b&x=2", headers=headers, content=b'{"a":1}'
    )
    seen = gateway.flags.requests[-1]
    assert answer.status_code == 200
    assert (seen["method"], seen["path"], seen["query"]) == ("POST", "/v1/flags/caf%C3%A9", "x=%20&y=a+b&x=2")
    assert seen["body"] == b'{"a":1}'


async def test_the_caller_is_passed_on_signed(gateway: Gateway):
    key = gateway.identity.issue("flags:read", environment="production")
    await gateway.client.get("/v1/flags", headers={"X-API-Key": key, "Undercroft-Principal": "forged"})
    header = gateway.flags.header("undercroft-principal")
    principal = PrincipalVerifier("flags", PrincipalKeys(principal_keys("flags"))).verify(header or "")
    assert principal.subject == gateway.identity.keys[key]["keyId"]
    assert (principal.kind, principal.scopes) == ("api_key", frozenset({"flags:read"}))
    assert principal.environment == "production"


async def test_credentials_stay_at_the_gateway(gateway: Gateway, headers: dict[str, str]):
    await gateway.client.get("/v1/flags", headers=headers)
    assert gateway.flags.header("authorization") is None


async def test_headers_that_only_the_gateway_may_set_are_replaced(gateway: Gateway, headers: dict[str, str]):
    spoofed = {
        "X-Forwarded-For": "1.2.3.4",
        "Forwarded": "for=1.2.3.4",
        "Undercroft-Plan": "enterprise",
        "X-User-Id": "usr_1",
        "Connection": "x-hop",
        "X-Hop": "1",
        "Via": "1.0 proxy",
        "X-Kept": "yes",
    }
    await gateway.client.get("/v1/flags", headers={**headers, **spoofed})
    seen = gateway.flags.header
    assert seen("forwarded") == 'for=127.0.0.1;proto=http;host="gateway"'
    assert seen("via") == "1.0 proxy, 1.1 undercroft"
    assert seen("x-kept") == "yes"
    for name in ("x-forwarded-for", "undercroft-plan", "x-user-id", "x-hop", "connection"):
        assert seen(name) is None


async def test_trusted_proxies_tell_the_caller(start_gateway: StartGateway):
    async with start_gateway(trusted_proxies=["127.0.0.0/8"]) as gateway:
        key = gateway.identity.issue("flags:read", allowedCidrs=["198.51.100.0/24"])
        headers = {"X-API-Key": key, "X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https"}
        answer = await gateway.client.get("/v1/flags", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert gateway.flags.header("forwarded") == 'for=198.51.100.7;proto=https;host="gateway"'


async def test_a_request_id_is_kept_when_it_is_well_formed(gateway: Gateway, headers: dict[str, str]):
    answer = await gateway.client.get("/v1/flags", headers={**headers, "Request-Id": "abc-1"})
    assert answer.headers.get_list("request-id") == ["abc-1"]
    assert gateway.flags.header("request-id") == "abc-1"


async def test_a_request_id_is_made_when_it_is_not(gateway: Gateway, headers: dict[str, str]):
    answer = await gateway.client.get("/v1/flags", headers={**headers, "Request-Id": "a b"})
    assert answer.headers["request-id"].startswith("req_")
    assert gateway.flags.header("request-id") == answer.headers["request-id"]


async def test_a_trace_goes_on_in_a_new_span(gateway: Gateway, headers: dict[str, str]):
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    await gateway.client.get("/v1/flags", headers={**headers, "traceparent": traceparent})
    seen = gateway.flags.header("traceparent") or ""
    assert seen.startswith(f"00-{'a' * 32}-")
    assert "b" * 16 not in seen


async def test_the_deadline_is_the_shorter_one(gateway: Gateway, headers: dict[str, str]):
    await gateway.client.get("/v1/flags", headers={**headers, "Request-Timeout-Ms": "1500"})
    assert 1_000 < int(gateway.flags.header("request-timeout-ms") or 0) <= 1_500
    await gateway.client.get("/v1/flags", headers={**headers, "Request-Timeout-Ms": "99999999"})
    assert int(gateway.flags.header("request-timeout-ms") or 0) == 30_000


async def test_a_deadline_that_has_passed_asks_nobody(gateway: Gateway, headers: dict[str, str]):
    answer = await gateway.client.get("/v1/flags", headers={**headers, "Request-Timeout-Ms": "0"})
    assert (answer.status_code, answer.json()["code"]) == (504, "gateway_timeout")
    assert gateway.flags.requests == []


@pytest.mark.parametrize(
    ("status", "media_type", "content"),
    [
        (404, "application/json", b'{"errorCode":"FLAG_NOT_FOUND","key":"x"}'),
        (400, "application/json;charset=UTF-8", b'{"error":"invalid_grant"}'),
        (304, None, b""),
        (204, None, b""),
        (302, "text/plain", b"elsewhere"),
        (503, "text/html", b"<h1>no</h1>"),
    ],
)
async def test_answers_pass_untouched(
    gateway: Gateway, headers: dict[str, str], status: int, media_type: str | None, content: bytes
):
    async def reply(scope: Scope, send: Send) -> None:
        given = [(b"etag", b'"1"'), (b"x-custom", b"a"), (b"x-custom", b"b")]
        if media_type is not None:
            given += [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": given})
        await send({"type": "http.response.body", "body": content})

    gateway.flags.reply = reply
    answer = await gateway.client.get("/v1/flags", headers=headers)
    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers.get("content-type") == media_type
    assert answer.headers.get_list("x-custom") == ["a", "b"]
    assert answer.headers["etag"] == '"1"'


async def test_answers_get_the_gateways_headers(gateway: Gateway, headers: dict[str, str]):
    answer = await gateway.client.get("/v1/flags", headers=headers)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "strict-transport-security" not in answer.headers


async def test_an_answers_own_policy_stands(gateway: Gateway, headers: dict[str, str]):
    async def reply(scope: Scope, send: Send) -> None:
        given = [(b"content-security-policy", b"default-src 'self'")]
        await send({"type": "http.response.start", "status": 200, "headers": given})
        await send({"type": "http.response.body", "body": b""})

    gateway.flags.reply = reply
    answer = await gateway.client.get("/v1/flags", headers=headers)
    assert answer.headers.get_list("content-security-policy") == ["default-src 'self'"]


async def test_head_is_passed_on_as_head(gateway: Gateway, headers: dict[str, str]):
    answer = await gateway.client.head("/v1/flags", headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert gateway.flags.requests[-1]["method"] == "HEAD"


async def test_an_upload_is_streamed(gateway: Gateway, headers: dict[str, str]):
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * 65_536

    answer = await gateway.client.post("/v1/flags", headers=headers, content=chunks())
    assert answer.status_code == 200
    assert len(gateway.flags.requests[-1]["body"]) == 8 * 65_536


async def test_events_pass_as_they_come(gateway: Gateway, headers: dict[str, str]):
    heard = asyncio.Event()

    async def reply(scope: Scope, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await asyncio.wait_for(heard.wait(), 2)
        await send({"type": "http.response.body", "body": b"data: 2\n\n", "more_body": False})

    gateway.flags.reply = reply
    async with gateway.client.stream("GET", "/v1/flags", headers=headers) as answer:
        received = answer.aiter_bytes()
        assert await anext(received) == b"data: 1\n\n"
        heard.set()
        assert await anext(received) == b"data: 2\n\n"


async def test_a_caller_who_leaves_ends_the_call_behind(gateway: Gateway, headers: dict[str, str]):
    ended = asyncio.Event()

    async def reply(scope: Scope, send: Send) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    gateway.flags.reply = reply
    with pytest.raises(httpx.ReadTimeout):
        await gateway.client.get("/v1/flags", headers=headers, timeout=0.2)
    await asyncio.wait_for(ended.wait(), 3)


async def test_a_caller_who_leaves_a_stream_ends_it_behind(gateway: Gateway, headers: dict[str, str]):
    ended = asyncio.Event()

    async def reply(scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"tick", "more_body": True})
                await asyncio.sleep(0.02)
        finally:
            ended.set()

    gateway.flags.reply = reply
    async with gateway.client.stream("GET", "/v1/flags", headers=headers) as answer:
        await anext(answer.aiter_bytes())
    await asyncio.wait_for(ended.wait(), 3)


async def test_a_caller_who_takes_nothing_is_left(
    gateway: Gateway, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("undercroft.gateway.proxy.forward._STALL_CHECK_SECONDS", 0.05)
    monkeypatch.setattr("undercroft.gateway.proxy.forward._LONGEST_STALL_SECONDS", 0.1)
    ended = asyncio.Event()

    async def reply(scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        finally:
            ended.set()

    gateway.flags.reply = reply
    async with gateway.client.stream("GET", "/v1/flags", headers=headers) as answer:
        assert answer.status_code == 200
        await asyncio.wait_for(ended.wait(), 3)


async def test_a_quiet_stream_is_not_a_stall(
    gateway: Gateway, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("undercroft.gateway.proxy.forward._STALL_CHECK_SECONDS", 0.02)
    monkeypatch.setattr("undercroft.gateway.proxy.forward._LONGEST_STALL_SECONDS", 0.05)

    async def reply(scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"1", "more_body": True})
        await asyncio.sleep(0.4)
        await send({"type": "http.response.body", "body": b"2"})

    gateway.flags.reply = reply
    assert (await gateway.client.get("/v1/flags", headers=headers)).text == "12"
