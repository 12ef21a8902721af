"""Every application in one process, but for one service at a time that respx stands in for."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import httpx
import pytest
import respx
from asgi_lifespan import LifespanManager
from pydantic import SecretStr
from typing_extensions import override

from undercroft.launcher.deployables import DEPLOYABLES
from undercroft.shared.auth import PRINCIPAL_HEADER, PrincipalKeys, PrincipalVerifier
from undercroft.shared.http_client import AsgiApp, InProcessTransport
from undercroft.shared.ids import TypeId, new_uuid7
from undercroft.shared.logs import configure_logging
from undercroft.shared.migrations import upgrade_if_behind
from undercroft.shared.settings import load_settings
from undercroft.shared.testing import TEST_SECRET, principal_keys
from undercroft.shared.tokens import mint_token

OPERATOR_KEY = mint_token("live", new_uuid7()).text
OPERATOR = {"Authorization": f"Bearer {OPERATOR_KEY}"}
NOTHING_HAPPENS = {"items": [], "nextCursor": "0"}
UNKNOWN_KEY = httpx.Response(
    404,
    json={"code": "api_key_invalid", "status": 404, "title": "Not Found"},
    headers={"Content-Type": "application/problem+json"},
)

Start = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class WithStandIn(httpx.AsyncBaseTransport):
    """Calls the applications of this process, but for one that a router answers for."""

    def __init__(self, apps: InProcessTransport, name: str, router: respx.MockRouter) -> None:
        self._apps = apps
        self._name = name
        self._stand_in = httpx.MockTransport(router.async_handler)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        to = self._stand_in if request.url.host == self._name else self._apps
        return await to.handle_async_request(request)


@pytest.fixture
def start(create_database: Callable[[], Awaitable[str]], fresh_logging: None) -> Start:
    """Open the platform without one service, on a database of its own."""
    configure_logging(log_format="json", log_level="error", service_name="test")

    @asynccontextmanager
    async def opened(absent: str, router: respx.MockRouter) -> AsyncIterator[httpx.AsyncClient]:
        reachable: dict[str, AsgiApp] = {}
        async with AsyncExitStack() as stack:
            apps = InProcessTransport(reachable)
            stack.push_async_callback(apps.aclose)
            transport = WithStandIn(apps, absent, router)
            for each in DEPLOYABLES:
                if each.name == absent:
                    continue
                values: dict[str, object] = {
                    "secret_key": TEST_SECRET,
                    "principal_keys": principal_keys(each.name),
                    "access_log": False,
                    **{f"{other}_url": f"http://{other}" for other in each.calls},
                }
                if each.has_database:
                    url = await create_database()
                    await upgrade_if_behind(url, each.package)
                    values["database_url"] = SecretStr(url)
                if each.name == "identity":
                    values["operator_key"] = OPERATOR_KEY
                settings = load_settings(each.load_settings_class(), **values)
                app = each.load_create_app()(settings, transport=transport)
                await stack.enter_async_context(LifespanManager(app))
                reachable[each.name] = app
            front = httpx.AsyncClient(transport=apps, base_url="http://gateway", timeout=10)
            client = await stack.enter_async_context(front)
            if absent != "identity":
                await registered(client)
            yield client

    return opened


@pytest.fixture
def router() -> respx.MockRouter:
    return respx.MockRouter(assert_all_called=False)


async def registered(client: httpx.AsyncClient) -> None:
    """Wait until identity knows the operator's key, which it registers beside its start."""
    for _ in range(50):  # below the limit of wrong credentials
        if (await client.get("/v1/organizations", headers=OPERATOR)).status_code == 200:
            return
        await asyncio.sleep(0.3)


def verified(*scopes: str, **members: object) -> dict[str, object]:
    known = {
        "keyId": str(TypeId("key", new_uuid7())),
        "organizationId": None,
        "scopes": list(scopes),
        "environment": None,
        "expiresAt": None,
        "kind": "api_key",
        "plan": None,
        "allowedCidrs": [],
    }
    return known | members


def identity_that_says(router: respx.MockRouter, answer: httpx.Response | Exception) -> respx.Route:
    router.get("http://identity/internal/events").respond(json=NOTHING_HAPPENS)
    route = router.post("http://identity/internal/api-keys/verify")
    return (
        route.mock(side_effect=answer) if isinstance(answer, Exception) else route.mock(return_value=answer)
    )


async def test_flags_serves_whom_identity_vouches_for(start: Start, router: respx.MockRouter) -> None:
    verify = identity_that_says(router, httpx.Response(200, json=verified("flags:read")))
    async with start("identity", router) as client:
        answer = await client.get("/v1/environments", headers=OPERATOR)
        refused = await client.post(
            "/v1/environments", headers=OPERATOR, json={"key": "mine", "name": "Mine"}
        )
    assert {each["key"] for each in answer.json()["items"]} == {"production", "staging", "development"}
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert json.loads(verify.calls[0].request.content)["secret"] == OPERATOR_KEY
    assert verify.call_count == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx.ConnectError("nobody listens"), (503, "unavailable")),
        (httpx.ReadTimeout("too slow"), (503, "unavailable")),
        (httpx.Response(500, text="broken"), (503, "unavailable")),
        (httpx.Response(200, text="no JSON"), (503, "unavailable")),
        (UNKNOWN_KEY, (401, "credentials_invalid")),
    ],
    ids=["away", "slow", "broken", "nonsense", "unknown key"],
)
async def test_without_identitys_word_nobody_passes(
    start: Start, router: respx.MockRouter, answer: httpx.Response | Exception, expected: tuple[int, str]
) -> None:
    identity_that_says(router, answer)
    async with start("identity", router) as client:
        refused = await client.get("/v1/environments", headers=OPERATOR)
    assert (refused.status_code, refused.json()["code"]) == expected


async def test_flags_is_told_who_calls_by_a_signature_for_it_alone(
    start: Start, router: respx.MockRouter
) -> None:
    route = router.get("http://flags/v1/flags").respond(json={"items": [], "nextCursor": None})
    async with start("flags", router) as client:
        answer = await client.get("/v1/flags", headers=OPERATOR)
        organizations = await client.get("/v1/organizations", headers=OPERATOR)
    assert (answer.status_code, organizations.status_code) == (200, 200)
    sent = route.calls[0].request.headers
    assert "Authorization" not in sent
    principal = PrincipalVerifier("flags", PrincipalKeys(principal_keys("flags"))).verify(
        sent[PRINCIPAL_HEADER]
    )
    assert (principal.kind, principal.is_operator) == ("operator", True)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (httpx.ConnectError("nobody listens"), (503, "unavailable")),
        (httpx.ReadTimeout("too slow"), (504, "gateway_timeout")),
        (httpx.RemoteProtocolError("cut"), (502, "bad_gateway")),
    ],
    ids=["away", "slow", "cut"],
)
async def test_flags_away_is_its_routes_only(
    start: Start, router: respx.MockRouter, failure: Exception, expected: tuple[int, str]
) -> None:
    router.route(host="flags").mock(side_effect=failure)
    async with start("flags", router) as client:
        answer = await client.get("/v1/flags", headers=OPERATOR)
        organizations = await client.get("/v1/organizations", headers=OPERATOR)
        status = (await client.get("/v1/status")).json()
    assert (answer.status_code, answer.json()["code"]) == expected
    assert organizations.status_code == 200
    states = {each["name"]: each["status"] for each in status["services"]}
    assert states == {"gateway": "pass", "identity": "pass", "flags": "fail"}
