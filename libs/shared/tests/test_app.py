import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query
from httpx import ASGITransport, AsyncClient, Response
from pydantic import SecretStr

from undercroft.shared.app import create_service_app
from undercroft.shared.auth import Requires, public
from undercroft.shared.errors import ConflictError, UnavailableError
from undercroft.shared.health import ReadinessCheck
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.logs import configure_logging
from undercroft.shared.serialization import RequestModel
from undercroft.shared.settings import ServiceSettings
from undercroft.shared.testing import principal_keys, unguarded_routes

SETTINGS = ServiceSettings(
    service_name="flags", port=1, secret_key=SecretStr("s" * 32), principal_keys=principal_keys("flags")
)


class Inner(RequestModel):
    size: int


class ThingCreate(RequestModel):
    display_name: str
    inner: Inner | None = None


router = APIRouter(route_class=ServiceRoute)


@router.get("/things")
@public
async def list_things(limit: Annotated[int, Query(le=10)] = 5) -> dict[str, int]:
    return {"limit": limit}


@router.post("/things", status_code=201)
@public
async def create_thing(thing: ThingCreate) -> dict[str, str]:
    if thing.display_name == "crash":
        raise RuntimeError("secret detail")
    if thing.display_name == "taken":
        raise ConflictError("Taken.", code="thing_taken")
    return {"name": thing.display_name}


@router.get("/guarded", dependencies=[Depends(Requires("flags:read"))])
async def guarded() -> None: ...


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.opened = True
    yield
    app.state.opened = False


def make_app(max_body_bytes: int = 100) -> FastAPI:
    return create_service_app(
        SETTINGS, description="Things.", routers=[router], lifespan=lifespan, max_body_bytes=max_body_bytes
    )


@pytest.fixture(autouse=True)
def logging_is_configured(fresh_logging: None) -> None:
    # As it comes, structlog draws each stack for a terminal, which takes seconds.
    configure_logging(log_format="json", log_level="info", service_name="things")


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    async with AsyncClient(transport=ASGITransport(make_app()), base_url="http://things") as client:
        yield client


def verdict(answer: Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


async def test_every_answer_carries_a_request_id(client: AsyncClient) -> None:
    assert (await client.get("/things")).headers["Request-Id"].startswith("req_")
    given = await client.get("/things", headers={"Request-Id": "abc-123"})
    assert given.headers["Request-Id"] == "abc-123"


@pytest.mark.parametrize("value", ["", "a b", "x" * 129, "é"])
async def test_a_malformed_request_id_is_replaced(client: AsyncClient, value: str) -> None:
    answer = await client.get("/things", headers=[(b"Request-Id", value.encode())])
    assert answer.headers["Request-Id"].startswith("req_")


async def test_problems_name_the_request(client: AsyncClient) -> None:
    answer = await client.get("/nothing", headers={"Request-Id": "abc"})
    assert verdict(answer) == (404, "not_found")
    assert (answer.json()["instance"], answer.json()["requestId"]) == ("/nothing", "abc")


async def test_business_errors_are_rendered(client: AsyncClient) -> None:
    assert verdict(await client.post("/things", json={"displayName": "taken"})) == (409, "thing_taken")


async def test_a_crash_tells_nothing_internal(client: AsyncClient) -> None:
    answer = await client.post("/things", json={"displayName": "crash"})
    assert verdict(answer) == (500, "internal_error")
    assert "secret detail" not in answer.text


async def test_validation_problems_carry_pointers(client: AsyncClient) -> None:
    answer = await client.post("/things", json={"displayName": "x", "inner": {"size": "big"}, "a/b": 1})
    assert verdict(answer) == (422, "validation_failed")
    assert {each["pointer"] for each in answer.json()["errors"]} == {"#/inner/size", "#/a~1b"}


async def test_query_problems_are_named_as_such(client: AsyncClient) -> None:
    answer = await client.get("/things", params={"limit": 11})
    assert verdict(answer) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"] == "#/query/limit"


async def test_malformed_json_is_400(client: AsyncClient) -> None:
    answer = await client.post("/things", content=b"{", headers={"Content-Type": "application/json"})
    assert verdict(answer) == (400, "malformed_json")


async def test_a_missing_body_is_422(client: AsyncClient) -> None:
    assert verdict(await client.post("/things")) == (422, "validation_failed")


async def test_head_is_get_without_content(client: AsyncClient) -> None:
    head, get = await client.head("/things"), await client.get("/things")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


async def test_405_lists_what_is_allowed(client: AsyncClient) -> None:
    answer = await client.put("/things")
    assert verdict(answer) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) >= {"OPTIONS"}


async def test_options_lists_what_is_allowed(client: AsyncClient) -> None:
    answer = await client.options("/things")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


async def test_an_unknown_method_is_501(client: AsyncClient) -> None:
    assert verdict(await client.request("BREW", "/things")) == (501, "not_implemented")


async def test_a_trailing_slash_is_another_path(client: AsyncClient) -> None:
    assert verdict(await client.get("/things/")) == (404, "not_found")


async def test_a_declared_oversized_body_is_413_before_it_is_read(client: AsyncClient) -> None:
    assert verdict(await client.post("/things", content=b"x" * 101)) == (413, "payload_too_large")


async def test_a_chunked_oversized_body_is_413(client: AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 50

    answer = await client.post("/things", content=chunks(), headers={"Content-Type": "application/json"})
    assert verdict(answer) == (413, "payload_too_large")


async def test_healthz_answers_without_dependencies(client: AsyncClient) -> None:
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "pass")
    assert answer.headers["Content-Type"] == "application/health+json"


async def test_readyz_tells_each_dependency_with_its_latency() -> None:
    app = make_app()

    async def fine() -> dict[str, object]:
        return {"ageSeconds": 1}

    async def away() -> None:
        raise UnavailableError("The database is away.")

    async def broken() -> None:
        raise RuntimeError("internal detail")

    app.state.readiness_checks += [
        ReadinessCheck("fine", fine),
        ReadinessCheck("away", away, required=False),
        ReadinessCheck("broken", broken, required=False),
    ]
    async with AsyncClient(transport=ASGITransport(app), base_url="http://things") as client:
        answer = await client.get("/readyz")
    checks = answer.json()["checks"]
    assert (answer.status_code, answer.json()["status"]) == (200, "warn")
    assert checks["fine"][0]["ageSeconds"] == 1
    assert checks["away"][0]["output"] == "The database is away."
    assert "internal detail" not in answer.text


async def test_a_required_dependency_that_hangs_makes_it_unready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("undercroft.shared.health._PROBE_TIMEOUT_SECONDS", 0.01)
    app = make_app()

    async def hang() -> None:
        await asyncio.sleep(5)

    app.state.readiness_checks.append(ReadinessCheck("hanging", hang))
    async with AsyncClient(transport=ASGITransport(app), base_url="http://things") as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["hanging"][0]["output"]) == (
        503,
        "No answer in time.",
    )


async def test_a_stopping_process_is_not_ready() -> None:
    app = make_app()
    async with app.router.lifespan_context(app):
        assert app.state.opened
        app.state.is_draining = True
        async with AsyncClient(transport=ASGITransport(app), base_url="http://things") as client:
            assert (await client.get("/readyz")).status_code == 503
    assert not app.state.opened


async def test_metrics_count_by_route_template_and_never_by_path(client: AsyncClient) -> None:
    await client.get("/things?limit=7")
    await client.get("/secret-path")
    text = (await client.get("/metrics")).text
    assert 'http_route="/things"' in text
    assert "secret-path" not in text


async def test_access_lines_carry_the_request_id(
    client: AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    await client.get("/things", headers={"Request-Id": "abc"})
    await client.get("/healthz")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["request_id"], line["status"]) for line in lines] == [("abc", 200)]


def test_unguarded_routes_are_found() -> None:
    open_router = APIRouter()

    @open_router.get("/open")
    async def forgotten() -> None: ...

    app = create_service_app(SETTINGS, description="", routers=[router, open_router], lifespan=lifespan)
    assert unguarded_routes(app) == ["GET /open"]


def test_operations_are_known_by_their_routes_names() -> None:
    own_router = APIRouter()

    @own_router.get("/v9/api-keys")
    @public
    async def list_api_keys() -> None: ...

    @own_router.get("/named", name="get_odd_thing", summary="Look at it")
    @public
    async def get() -> None: ...

    app = create_service_app(SETTINGS, description="", routers=[own_router], lifespan=lifespan)
    named = {
        path: (item["get"]["operationId"], item["get"]["summary"])
        for path, item in app.openapi()["paths"].items()
    }
    assert named == {
        "/v9/api-keys": ("list_api_keys", "List API keys"),
        "/named": ("get_odd_thing", "Look at it"),
    }


def test_the_document_tells_how_a_refusal_looks() -> None:
    responses = make_app().openapi()["paths"]["/things"]["post"]["responses"]
    assert list(responses["422"]["content"]) == ["application/problem+json"]
    assert "errors" in responses["422"]["content"]["application/problem+json"]["schema"]["properties"]
    assert list(responses["default"]["content"]) == ["application/problem+json"]


async def test_the_document_is_made_once_and_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch):
    app = make_app()
    make = app.openapi
    makers: list[str] = []

    def noted() -> dict[str, object]:
        makers.append(threading.current_thread().name)
        return make()

    monkeypatch.setattr(app, "openapi", noted)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://things") as client:
        answers = await asyncio.gather(*(client.get("/openapi.json") for _ in range(5)))
    assert {answer.headers["Content-Type"] for answer in answers} == {"application/json"}
    assert all(answer.json() == make() for answer in answers)
    assert len(makers) == 1
    assert makers != [threading.main_thread().name]
