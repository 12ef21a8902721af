import pytest
from starlette.types import Scope, Send

from undercroft.gateway.main import create_app
from undercroft.gateway.settings import GatewaySettings
from undercroft.shared.http_client import InProcessTransport
from undercroft.shared.settings import SettingsError

from .conftest import Gateway, gateway_settings, run_gateway
from .fakes import FakeIdentity


async def ready(scope: Scope, send: Send) -> None:
    document = b'{"status":"pass","checks":{}}'
    if scope["path"] == "/openapi.json":
        document = b'{"openapi":"3.1.0","paths":{"/v1/flags":{"get":{"responses":{}}}}}'
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": document})


async def test_the_status_of_a_platform_that_works(gateway: Gateway):
    gateway.flags.reply = ready
    answer = await gateway.client.get("/v1/status")
    status = answer.json()
    assert (answer.status_code, status["status"]) == (200, "pass")
    assert [service["name"] for service in status["services"]] == ["gateway", "identity", "flags"]
    identity = status["services"][1]
    assert identity["dependencies"] == [
        {"name": "database", "status": "pass", "latencyMs": 0.4, "detail": None}
    ]


async def test_a_part_that_is_down_is_told_and_nothing_more():
    transport = InProcessTransport({"identity": FakeIdentity().app})
    async with run_gateway(transport, gateway_settings()) as (_, client):
        answer = await client.get("/v1/status")
    status = answer.json()
    flags = status["services"][2]
    assert (answer.status_code, status["status"]) == (200, "fail")
    assert (flags["status"], flags["detail"]) == ("fail", "The flags service cannot be reached.")


async def test_a_part_that_is_not_ready_tells_why(gateway: Gateway):
    async def unready(scope: Scope, send: Send) -> None:
        content = b'{"status":"fail","output":"Stopping.","checks":{"database":[{"status":"fail","output":"x"}],"odd":1}}'
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": content})

    gateway.flags.reply = unready
    flags = (await gateway.client.get("/v1/status")).json()["services"][2]
    assert (flags["status"], flags["detail"]) == ("fail", "Stopping.")
    assert flags["dependencies"] == [{"name": "database", "status": "fail", "latencyMs": None, "detail": "x"}]


async def test_browsers_get_a_page_without_script(gateway: Gateway):
    answer = await gateway.client.get("/v1/status", headers={"Accept": "text/html,*/*;q=0.8"})
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script" not in answer.text
    assert answer.headers.get_list("content-security-policy")[0].startswith(
        "default-src 'none'; style-src 'sha256-"
    )
    assert "Accept" in answer.headers["vary"]


async def test_the_status_is_asked_for_once_a_second(gateway: Gateway):
    gateway.flags.reply = ready
    for _ in range(5):
        await gateway.client.get("/v1/status")
    assert len(gateway.flags.requests) == 1


async def test_the_document_has_everything(gateway: Gateway):
    gateway.flags.reply = ready
    answer = await gateway.client.get("/openapi.json")
    document = answer.json()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {"/v1/status", "/v1/organizations", "/v1/flags"}
    assert "x-undercroft-missing" not in document


async def test_the_document_is_kept_and_revalidated(gateway: Gateway):
    gateway.flags.reply = ready
    first = await gateway.client.get("/openapi.json")
    again = await gateway.client.get("/openapi.json", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert len(gateway.flags.requests) == 1


async def test_a_service_that_is_away_is_named_and_asked_again_soon(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("undercroft.gateway.openapi.document._RETRY_SECONDS", 0.0)

    async def broken(scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"[]"})

    gateway.flags.reply = broken
    document = (await gateway.client.get("/openapi.json")).json()
    assert document["x-undercroft-missing"] == ["flags"]
    gateway.flags.reply = ready
    document = (await gateway.client.get("/openapi.json")).json()
    assert "/v1/flags" in document["paths"]


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/docs", "text/html"), ("/docs/docs.css", "text/css"), ("/docs/docs.js", "text/javascript")],
)
async def test_the_docs_need_no_other_server(gateway: Gateway, path: str, media_type: str):
    answer = await gateway.client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(media_type)
    assert "://" not in answer.text
    assert answer.headers["content-security-policy"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_browser_that_asks_for_the_door_is_shown_the_docs(gateway: Gateway, method: str):
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    answer = await gateway.client.request(method, "/", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["location"]) == (303, "/docs")
    assert "Accept" in answer.headers["vary"]


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/html;q=0.5, application/json"])
async def test_a_program_that_asks_for_the_door_is_told_where_the_api_is_described(
    gateway: Gateway, accept: str | None
):
    answer = await gateway.client.get("/", headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["link"] == '</openapi.json>; rel="service-desc", </docs>; rel="service-doc"'
    assert "Accept" in answer.headers["vary"]


async def test_other_files_are_not_served(gateway: Gateway):
    answer = await gateway.client.get("/docs/status.css")
    assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")


async def test_health_and_readiness(gateway: Gateway):
    assert (await gateway.client.get("/healthz")).json()["status"] == "pass"
    assert (await gateway.client.get("/readyz")).status_code == 200


async def test_metrics_are_for_operators(gateway: Gateway):
    answer = await gateway.client.get("/metrics", headers={"X-API-Key": gateway.identity.issue("flags:read")})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    operator = {"X-API-Key": gateway.identity.issue("operator")}
    await gateway.client.get("/v1/flags", headers=operator)
    text = (await gateway.client.get("/metrics", headers=operator)).text
    assert 'http_route="/v1/flags/{path}"' in text


async def test_own_views_carry_one_request_id(gateway: Gateway):
    answer = await gateway.client.get("/v1/status", headers={"Request-Id": "abc"})
    assert answer.headers.get_list("request-id") == ["abc"]


def test_wrong_routes_stop_the_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(GatewaySettings, "upstream_urls", lambda _: {"identity": "http://identity"})
    with pytest.raises(SettingsError, match=r"routes.toml:\d+: no upstream is named 'flags'"):
        create_app(gateway_settings())


async def test_the_gateway_makes_its_own_transport(monkeypatch: pytest.MonkeyPatch):
    async with run_gateway(
        None, gateway_settings(flags_url="http://127.0.0.1:9", identity_url="http://127.0.0.1:9")
    ) as (
        _,
        client,
    ):
        status = (await client.get("/v1/status")).json()
    assert [service["status"] for service in status["services"]] == ["pass", "fail", "fail"]
