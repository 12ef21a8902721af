import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import respx
from typing_extensions import override

from undercroft.shared.http_client import InProcessTransport

from .conftest import gateway_settings, run_gateway
from .fakes import FakeIdentity


class RoutedTransport(httpx.AsyncBaseTransport):
    """Identity in process, everything else through respx."""

    def __init__(self, identity: FakeIdentity, router: respx.Router) -> None:
        self._identity = InProcessTransport({"identity": identity.app})
        self._others = httpx.MockTransport(router.async_handler)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        transport = self._identity if request.url.host == "identity" else self._others
        return await transport.handle_async_request(request)


class Caller:
    def __init__(self, client: httpx.AsyncClient, identity: FakeIdentity, flags: respx.Router) -> None:
        self.flags = flags
        self._client = client
        self._key = identity.issue("operator")

    async def get(self, **options: Any) -> httpx.Response:
        return await self._client.get("/v1/flags", headers={"X-API-Key": self._key}, **options)


@asynccontextmanager
async def calling() -> AsyncIterator[Caller]:
    identity, router = FakeIdentity(), respx.Router(base_url="http://flags", assert_all_called=False)
    async with run_gateway(RoutedTransport(identity, router), gateway_settings()) as (_, client):
        yield Caller(client, identity, router)


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    async with calling() as caller:
        yield caller


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (httpx.ConnectError, 503, "unavailable"),
        (httpx.PoolTimeout, 503, "unavailable"),
        (httpx.ConnectTimeout, 504, "gateway_timeout"),
        (httpx.ReadTimeout, 504, "gateway_timeout"),
        (httpx.WriteTimeout, 504, "gateway_timeout"),
        (httpx.RemoteProtocolError, 502, "bad_gateway"),
        (httpx.ReadError, 502, "bad_gateway"),
        (httpx.WriteError, 502, "bad_gateway"),
        (httpx.UnsupportedProtocol, 400, "malformed_request"),
    ],
)
async def test_failures_before_the_answer_become_problems(
    caller: Caller, failure: type[httpx.TransportError], status: int, code: str
):
    caller.flags.get("/v1/flags").mock(side_effect=failure("http://flags:8000 said no"))
    answer = await caller.get()
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "8000" not in answer.text


async def test_a_service_that_is_down_says_when_to_come_back(caller: Caller):
    caller.flags.get("/v1/flags").mock(side_effect=httpx.ConnectError)
    assert (await caller.get()).headers["retry-after"] == "1"


@pytest.mark.parametrize("status", [101, 199, 600, 999])
async def test_a_status_that_is_none_is_a_bad_gateway(caller: Caller, status: int):
    caller.flags.get("/v1/flags").respond(status)
    answer = await caller.get()
    assert (answer.status_code, answer.json()["code"]) == (502, "bad_gateway")


async def test_an_error_of_a_service_passes_as_it_is(caller: Caller):
    caller.flags.get("/v1/flags").respond(500, html="<h1>broken</h1>")
    answer = await caller.get()
    assert (answer.status_code, answer.text) == (500, "<h1>broken</h1>")


async def test_the_route_sets_how_long_to_wait(caller: Caller):
    route = caller.flags.get("/v1/flags").respond(200)
    await caller.get()
    assert route.calls.last.request.extensions["timeout"]["read"] == 30


async def test_an_answer_that_is_cut_is_not_passed_off_as_whole(caller: Caller):
    class Cut(httpx.AsyncByteStream):
        @override
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"half"
            raise httpx.ReadError("cut")

    caller.flags.get("/v1/flags").respond(200, stream=Cut())
    with pytest.raises(httpx.RemoteProtocolError):
        await caller.get()


async def test_a_slow_service_leaves_others_alone(caller: Caller):
    async def slow(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.3)
        return httpx.Response(200)

    caller.flags.get("/v1/flags").mock(side_effect=slow)
    waiting = asyncio.create_task(caller.get())
    await asyncio.sleep(0.01)
    status = await asyncio.wait_for(caller._client.get("/healthz"), 0.2)
    assert status.status_code == 200
    assert (await waiting).status_code == 200
