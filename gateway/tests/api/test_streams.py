"""Event streams through the gateway: who opens them, with what, and what ends them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from gateway.tests.factories import GRANT, KEY, ORGANIZATION, USER
from starlette.types import Scope, Send

from undercroft.shared.auth import PRINCIPAL_HEADER, PrincipalKeys, PrincipalVerifier
from undercroft.shared.stream_tokens import StreamClaims, StreamTokenSigner
from undercroft.shared.testing import principal_keys

from .conftest import Gateway, StartGateway

EVENTS = "/ofrep/v1/events"
SIGNER = StreamTokenSigner("flags", PrincipalKeys(principal_keys("flags")))


def stream_token(
    subject: str = KEY, *, age: int = 0, life: int = 3_600, environment: str = "production"
) -> str:
    issued_at = int(time.time()) - age
    return SIGNER.sign(
        StreamClaims(
            subject=subject,
            environment=environment,
            organization=str(ORGANIZATION),
            grant_id=GRANT if subject == USER else None,
            issued_at=issued_at,
            expires_at=issued_at + life,
        )
    )


async def stream(_: Scope, send: Send) -> None:
    """Answer as the flags service does, for ever."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    await asyncio.Event().wait()


@pytest.fixture
async def streaming(gateway: Gateway) -> Gateway:
    return prepared(gateway)


def prepared(gateway: Gateway) -> Gateway:
    gateway.flags.reply = stream
    own = gateway.identity.allow("flags:evaluate", "flags:read", kind="api_key", environment="production")
    gateway.identity.access[KEY, str(ORGANIZATION)] = own
    return gateway


@asynccontextmanager
async def opened(
    gateway: Gateway, query: str = "", **headers: str
) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[bytes]]]:
    async with gateway.client.stream("GET", f"{EVENTS}{query}", headers=headers) as answer:
        chunks = answer.aiter_raw()
        if answer.status_code == 200:
            assert await anext(chunks) == b"data: 1\n\n"
        yield answer, chunks


async def ended(chunks: AsyncIterator[bytes]) -> bool:
    """Wait for the proper end of a stream."""
    async with asyncio.timeout(5):
        return [chunk async for chunk in chunks] == []


def principal_behind(gateway: Gateway) -> tuple[str, str | None, frozenset[str], str | None]:
    verifier = PrincipalVerifier("flags", PrincipalKeys(principal_keys("flags")))
    principal = verifier.verify(gateway.flags.header(PRINCIPAL_HEADER.lower()) or "")
    return principal.subject, principal.environment, principal.scopes, str(principal.organization_id)


async def test_a_stream_token_opens_a_stream_and_no_more(streaming: Gateway):
    async with opened(streaming, f"?token={stream_token()}&since=v1") as (answer, _):
        assert answer.headers["content-type"] == "text/event-stream"
    subject, environment, scopes, organization = principal_behind(streaming)
    assert (subject, environment, scopes) == (KEY, "production", frozenset({"flags:evaluate"}))
    assert organization == str(ORGANIZATION.uuid)


async def test_the_service_never_sees_the_token(streaming: Gateway):
    async with opened(streaming, f"?a=1&%74oken={stream_token()}&since=v1"):
        seen = streaming.flags.requests[-1]
    assert seen["query"] == "a=1&since=v1"


@pytest.mark.parametrize("way", ["Authorization", "X-API-Key"])
async def test_a_stream_opens_with_a_key_in_a_header_too(streaming: Gateway, way: str):
    key = streaming.identity.issue("flags:evaluate", environment="production")
    headers = {way: f"Bearer {key}" if way == "Authorization" else key}
    async with opened(streaming, **headers) as (answer, _):
        assert answer.status_code == 200


async def test_a_persons_stream_is_asked_about_with_the_grant(streaming: Gateway):
    async with opened(streaming, f"?token={stream_token(USER)}") as (answer, _):
        assert answer.status_code == 200
    assert streaming.identity.questions[-1]["grantId"] == GRANT


async def test_a_browser_of_another_origin_may_read_a_stream(streaming: Gateway):
    async with opened(streaming, f"?token={stream_token()}", Origin="https://shop.example") as (answer, _):
        assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 401, "credentials_missing"),
        ("?token=", 401, "credentials_invalid"),
        ("?token=nonsense", 401, "credentials_invalid"),
        ("?token=%C3%A4", 401, "credentials_invalid"),
        ("?token=a&token=b", 400, "malformed_request"),
        (f"?token={stream_token(age=100, life=50)}", 401, "credentials_invalid"),
        (f"?token={stream_token('key_01h455vb4pex5vsknk084sn02z')}", 401, "credentials_invalid"),
        (f"?token={stream_token(environment='staging')}", 401, "credentials_invalid"),
    ],
    ids=[
        "none",
        "empty",
        "no token",
        "not ASCII",
        "two",
        "expired",
        "of a revoked key",
        "of another environment",
    ],
)
async def test_without_a_good_token_there_is_no_stream(
    streaming: Gateway, query: str, status: int, code: str
):
    refused = await streaming.client.get(f"{EVENTS}{query}")
    assert (refused.status_code, refused.json()["code"]) == (status, code)


async def test_an_expired_token_is_told_from_a_wrong_one(streaming: Gateway):
    refused = await streaming.client.get(f"{EVENTS}?token={stream_token(age=100, life=50)}")
    assert refused.json()["detail"] == "The credentials have expired."


async def test_expired_tokens_are_no_guesses(streaming: Gateway):
    expired = f"{EVENTS}?token={stream_token(age=100, life=50)}"
    answers = [await streaming.client.get(expired) for _ in range(70)]
    assert {answer.status_code for answer in answers} == {401}


async def test_a_token_in_the_query_and_a_key_in_a_header_are_one_too_many(streaming: Gateway):
    key = streaming.identity.issue("flags:evaluate")
    refused = await streaming.client.get(f"{EVENTS}?token={stream_token()}", headers={"X-API-Key": key})
    assert (refused.status_code, refused.json()["code"]) == (400, "malformed_request")


async def test_a_stream_token_is_no_bearer_token_even_when_it_is_remembered(streaming: Gateway):
    token = stream_token()
    async with opened(streaming, f"?token={token}"):
        pass
    refused = await streaming.client.get("/v1/flags", headers={"Authorization": f"Bearer {token}"})
    assert refused.status_code == 401
    refused = await streaming.client.get(f"/v1/flags?token={token}")
    assert (refused.status_code, refused.json()["code"]) == (401, "credentials_missing")


async def test_a_bearer_token_is_no_stream_token(streaming: Gateway):
    token = streaming.identity.issuer.token()
    refused = await streaming.client.get(f"{EVENTS}?token={token}")
    assert refused.status_code == 401
    key = streaming.identity.issue("flags:evaluate")
    assert (await streaming.client.get(f"{EVENTS}?token={key}")).status_code == 401


async def test_a_revoked_key_ends_the_streams_that_its_token_opened(streaming: Gateway):
    query = f"?token={stream_token()}"
    async with opened(streaming, query) as (_, chunks):
        del streaming.identity.access[KEY, str(ORGANIZATION)]
        streaming.identity.publish("api_key.revoked", KEY)
        assert await ended(chunks)
    refused = await streaming.client.get(f"{EVENTS}{query}")
    assert (refused.status_code, refused.json()["code"]) == (401, "credentials_invalid")


@pytest.mark.parametrize(
    ("event", "subject"),
    [("organization.suspended", str(ORGANIZATION)), ("grant.revoked", GRANT), ("user.disabled", USER)],
)
async def test_whatever_changes_access_ends_the_streams_that_it_touches(
    streaming: Gateway, event: str, subject: str
):
    async with opened(streaming, f"?token={stream_token(USER)}") as (_, chunks):
        streaming.identity.publish(event, subject)
        assert await ended(chunks)


async def test_the_streams_of_others_go_on(streaming: Gateway):
    async with opened(streaming, f"?token={stream_token()}"):
        async with opened(streaming, f"?token={stream_token(USER)}") as (_, chunks):
            streaming.identity.publish("grant.revoked", GRANT)
            assert await ended(chunks)
        assert len(open_streams(streaming)) == 1


def open_streams(gateway: Gateway):
    return gateway.app.state.pipeline._stages.forwarder._ways.open_streams


async def test_a_stream_opened_with_an_access_token_ends_with_it(streaming: Gateway):
    token = streaming.identity.issuer.token(exp=int(time.time()) + 1)
    headers = {"Authorization": f"Bearer {token}"}
    async with opened(streaming, **headers) as (answer, chunks):
        assert answer.status_code == 200
        assert await ended(chunks)


async def test_a_stream_outlives_the_token_that_only_opened_it(streaming: Gateway):
    async with opened(streaming, f"?token={stream_token(life=1)}") as (answer, chunks):
        assert answer.status_code == 200
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.2):
                await anext(chunks)


async def test_who_leaves_is_counted_no_more(streaming: Gateway):
    async with opened(streaming, f"?token={stream_token()}"):
        assert len(open_streams(streaming)) == 1
    async with asyncio.timeout(5):
        while len(open_streams(streaming)):  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.005)


async def test_streams_beyond_the_limit_are_refused(start_gateway: StartGateway):
    async with start_gateway(streams=1) as gateway:
        query = f"?token={stream_token()}"
        async with opened(prepared(gateway), query):
            refused = await gateway.client.get(f"{EVENTS}{query}")
            assert (refused.status_code, refused.json()["code"]) == (503, "streams_full")
            assert refused.headers["retry-after"]


async def test_streams_end_when_the_gateway_is_to_stop(streaming: Gateway):
    async with opened(streaming, f"?token={stream_token()}") as (_, chunks):
        streaming.app.state.is_draining = True
        assert await ended(chunks)


async def test_a_stream_that_is_ended_before_it_began_is_unavailable(streaming: Gateway):
    arrived = asyncio.Event()

    async def hesitate(_: Scope, __: Send) -> None:
        arrived.set()
        await asyncio.Event().wait()

    streaming.flags.reply = hesitate
    asking = asyncio.create_task(streaming.client.get(f"{EVENTS}?token={stream_token()}"))
    await asyncio.wait_for(arrived.wait(), 5)
    streaming.identity.publish("api_key.rotated", KEY)
    answer = await asyncio.wait_for(asking, 5)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_no_log_line_has_the_token(start_gateway: StartGateway, capsys: pytest.CaptureFixture[str]):
    token = stream_token()
    async with start_gateway(access_log=True) as gateway:
        async with opened(prepared(gateway), f"?token={token}"):
            pass
        await gateway.client.get(f"{EVENTS}?token={token}x")
    lines = capsys.readouterr()
    assert "/ofrep/v1/events" in lines.out + lines.err
    assert token.split(".")[1] not in lines.out + lines.err
