import time

import httpx
import pytest
import respx

from undercroft.shared.auth import PrincipalKeys, PrincipalSigner, PrincipalVerifier
from undercroft.shared.errors import (
    BadGatewayError,
    ConflictError,
    GatewayTimeoutError,
    RateLimitedError,
    ServiceError,
    UnavailableError,
    UnprocessableError,
)
from undercroft.shared.http_client import (
    CallContext,
    CallOptions,
    ServiceClient,
    bind_call_context,
    deadline_from,
)
from undercroft.shared.serialization import WireModel
from undercroft.shared.telemetry import TraceContext
from undercroft.shared.testing import api_key_principal, principal_keys

PROBLEM = {"content-type": "application/problem+json"}


class Thing(WireModel):
    display_name: str


@pytest.fixture
def flags() -> respx.Router:
    return respx.Router(base_url="http://flags:8000")


@pytest.fixture
def client(flags: respx.Router) -> ServiceClient:
    signer = PrincipalSigner("identity", PrincipalKeys(principal_keys("identity")))
    return ServiceClient(
        "http://flags:8000",
        transport=httpx.MockTransport(flags.async_handler),
        audience="flags",
        signer=signer,
    )


async def test_an_answer_becomes_a_model(client: ServiceClient, flags: respx.Router):
    route = flags.get("/v1/things", params={"limit": "1", "q": "a b"}).respond(json={"displayName": "x"})
    assert await client.get("/v1/things", Thing, query={"limit": 1, "q": "a b"}) == Thing(display_name="x")
    assert route.calls.last.request.headers["host"] == "flags:8000"


async def test_a_model_is_sent_by_its_wire_names(client: ServiceClient, flags: respx.Router):
    route = flags.post("/v1/things").respond(json={"displayName": "y"})
    await client.post("/v1/things", Thing, body=Thing(display_name="x"))
    assert route.calls.last.request.content == b'{"displayName":"x"}'
    assert route.calls.last.request.headers["content-type"] == "application/json"


async def test_a_plain_value_is_sent_as_json(client: ServiceClient, flags: respx.Router):
    route = flags.post("/v1/things").respond(json={"displayName": "y"})
    await client.post("/v1/things", Thing, body={"a": 1})
    assert route.calls.last.request.content == b'{"a":1}'


async def test_it_speaks_for_itself(client: ServiceClient, flags: respx.Router):
    route = flags.get("/x").respond(json={"displayName": "x"})
    await client.get("/x", Thing)
    header = route.calls.last.request.headers["undercroft-principal"]
    principal = PrincipalVerifier("flags", PrincipalKeys(principal_keys("flags"))).verify(header)
    assert (principal.kind, principal.subject) == ("service", "identity")


async def test_it_speaks_for_a_caller(flags: respx.Router):
    signer = PrincipalSigner("gateway", PrincipalKeys(principal_keys("gateway")))
    transport = httpx.MockTransport(flags.async_handler)
    client = ServiceClient("http://flags:8000/", transport=transport, audience="flags", signer=signer)
    route = flags.get("/x").respond(json={"displayName": "x"})
    await client.get("/x", Thing, options=CallOptions(principal=api_key_principal("flags:read")))
    header = route.calls.last.request.headers["undercroft-principal"]
    principal = PrincipalVerifier("flags", PrincipalKeys(principal_keys("flags"))).verify(header)
    assert principal == api_key_principal("flags:read")


async def test_the_request_passes_on_its_id_trace_and_deadline(client: ServiceClient, flags: respx.Router):
    route = flags.get("/x").respond(json={"displayName": "x"})
    trace = TraceContext.parse([])
    context = CallContext("req_1", trace, time.monotonic() + 5)
    with bind_call_context(context):
        await client.get("/x", Thing, options=CallOptions(headers={"X-More": "1"}))
    headers = route.calls.last.request.headers
    assert headers["request-id"] == "req_1"
    assert trace.trace_id in headers["traceparent"]
    assert trace.span_id not in headers["traceparent"]
    assert 4_000 < int(headers["request-timeout-ms"]) <= 5_000
    assert headers["x-more"] == "1"


async def test_without_a_request_nothing_is_passed_on(flags: respx.Router):
    client = ServiceClient(
        "http://flags:8000", transport=httpx.MockTransport(flags.async_handler), audience="flags"
    )
    route = flags.get("/x").respond(json={"displayName": "x"})
    await client.get("/x", Thing)
    headers = route.calls.last.request.headers
    assert not {"request-id", "traceparent", "request-timeout-ms", "undercroft-principal"} & set(headers)


async def test_a_passed_deadline_is_a_gateway_timeout(client: ServiceClient, flags: respx.Router):
    flags.get("/x").respond(json={"displayName": "x"})
    with (
        bind_call_context(CallContext(deadline=time.monotonic() - 1)),
        pytest.raises(GatewayTimeoutError) as caught,
    ):
        await client.get("/x", Thing)
    assert (caught.value.status, caught.value.code) == (504, "gateway_timeout")


async def test_a_problem_is_raised_as_the_same_error(client: ServiceClient, flags: respx.Router):
    problem = {"type": "about:blank", "status": 409, "code": "slug_taken", "detail": "Taken.", "slug": "a"}
    flags.post("/x").respond(409, headers=PROBLEM, json=problem)
    with pytest.raises(ConflictError) as caught:
        await client.post("/x", Thing, body={})
    assert (caught.value.status, caught.value.code, caught.value.detail) == (409, "slug_taken", "Taken.")
    assert caught.value.extensions == {"slug": "a"}


async def test_field_problems_survive(client: ServiceClient, flags: respx.Router):
    errors = [{"pointer": "#/a", "detail": "no", "code": "missing"}]
    flags.post("/x").respond(
        422, headers=PROBLEM, json={"status": 422, "code": "validation_failed", "errors": errors}
    )
    with pytest.raises(UnprocessableError) as caught:
        await client.post("/x", Thing, body={})
    assert (caught.value.code, caught.value.extensions["errors"]) == ("validation_failed", errors)


async def test_retry_after_survives(client: ServiceClient, flags: respx.Router):
    flags.get("/x").respond(429, headers={**PROBLEM, "retry-after": "7"}, json={"code": "rate_limited"})
    with pytest.raises(RateLimitedError) as caught:
        await client.get("/x", Thing)
    assert caught.value.headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"wrong": 1}),
        httpx.Response(200, content=b"not json"),
        httpx.Response(302, headers={"location": "/"}),
        httpx.Response(500, content=b"<html>"),
        httpx.Response(404, headers=PROBLEM, content=b"not json"),
        httpx.Response(404, headers=PROBLEM, content=b"[]"),
        httpx.Response(200, content=b"x" * (4 * 1024 * 1024 + 1)),
    ],
    ids=["other shape", "no json", "redirect", "no problem", "broken problem", "odd problem", "too much"],
)
async def test_what_it_should_never_answer_is_a_bad_gateway(
    client: ServiceClient, flags: respx.Router, answer: httpx.Response
):
    flags.get("/x").mock(return_value=answer)
    with pytest.raises(BadGatewayError) as caught:
        await client.get("/x", Thing)
    assert (caught.value.status, caught.value.code) == (502, "bad_gateway")


@pytest.mark.parametrize(
    ("failure", "error", "status"),
    [
        (httpx.ConnectError, UnavailableError, 503),
        (httpx.ConnectTimeout, UnavailableError, 503),
        (httpx.PoolTimeout, UnavailableError, 503),
        (httpx.ReadTimeout, GatewayTimeoutError, 504),
        (httpx.ReadError, BadGatewayError, 502),
    ],
)
async def test_failures_of_the_network_are_typed(
    client: ServiceClient,
    flags: respx.Router,
    failure: type[httpx.TransportError],
    error: type[ServiceError],
    status: int,
):
    flags.get("/x").mock(side_effect=failure)
    with pytest.raises(error) as caught:
        await client.get("/x", Thing)
    assert caught.value.status == status


async def test_an_unreachable_service_says_when_to_come_back(client: ServiceClient, flags: respx.Router):
    flags.get("/x").mock(side_effect=httpx.ConnectError)
    with pytest.raises(UnavailableError) as caught:
        await client.get("/x", Thing)
    assert caught.value.headers["Retry-After"] == "1"


async def test_nothing_is_retried_unasked(client: ServiceClient, flags: respx.Router):
    route = flags.get("/x").mock(side_effect=httpx.ConnectError)
    with pytest.raises(UnavailableError):
        await client.get("/x", Thing)
    assert route.call_count == 1


async def test_a_read_is_retried_when_asked(client: ServiceClient, flags: respx.Router):
    route = flags.get("/x").mock(
        side_effect=[httpx.ConnectError, httpx.Response(200, json={"displayName": "x"})]
    )
    assert (await client.get("/x", Thing, options=CallOptions(retries=2))).display_name == "x"
    assert route.call_count == 2


async def test_a_write_is_retried_only_when_it_may_be(client: ServiceClient, flags: respx.Router):
    route = flags.post("/x").mock(side_effect=httpx.ConnectError)
    with pytest.raises(UnavailableError):
        await client.post("/x", Thing, body={}, options=CallOptions(retries=1))
    assert route.call_count == 1
    with pytest.raises(UnavailableError):
        await client.post("/x", Thing, body={}, options=CallOptions(retries=1, is_idempotent=True))
    assert route.call_count == 3


async def test_other_statuses_can_be_welcome(client: ServiceClient, flags: respx.Router):
    flags.get("/readyz").respond(503, json={"status": "fail"})
    answer = await client.send("GET", "/readyz", options=CallOptions(also_accepts=frozenset({503})))
    assert (answer.status, answer.content) == (503, b'{"status":"fail"}')


async def test_a_long_poll_has_a_read_timeout_of_its_own(client: ServiceClient, flags: respx.Router):
    route = flags.get("/x").respond(json={"displayName": "x"})
    await client.get("/x", Thing, options=CallOptions(read_seconds=40))
    assert route.calls.last.request.extensions["timeout"]["read"] == 40


@pytest.mark.parametrize("url", ["ftp://x", "nothing", "http://"])
def test_only_addresses_of_services_are_taken(url: str):
    with pytest.raises(ValueError, match="not an http"):
        ServiceClient(url, transport=httpx.MockTransport(lambda _: httpx.Response(200)), audience="x")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"1500", True), (b"", False), (b"-1", False), (b"1e9", False), (b"9" * 10, False)],
)
def test_only_a_number_of_milliseconds_is_a_deadline(value: bytes, *, expected: bool):
    assert (deadline_from([(b"a", b"b"), (b"request-timeout-ms", value)]) is not None) is expected


def test_no_deadline_is_no_remaining_time():
    assert CallContext().remaining_seconds() is None
