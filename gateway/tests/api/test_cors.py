from .conftest import Gateway, StartGateway

ORIGIN = {"Origin": "https://app.example"}


async def test_a_preflight_is_answered_before_credentials_are_asked_for(gateway: Gateway):
    headers = {
        **ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    answer = await gateway.client.options("/ofrep/v1/evaluate/flags", headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    for name in ("Authorization", "Content-Type", "If-None-Match", "X-API-Key", "traceparent"):
        assert name in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    assert gateway.flags.requests == []


async def test_an_answer_may_be_read_by_browsers(gateway: Gateway):
    key = gateway.identity.issue("flags:evaluate")
    answer = await gateway.client.get("/ofrep/v1/configuration", headers={**ORIGIN, "X-API-Key": key})
    assert answer.headers["access-control-allow-origin"] == "*"
    for name in ("ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "WWW-Authenticate", "Location"):
        assert name in answer.headers["access-control-expose-headers"]


async def test_a_refusal_may_be_read_by_browsers(gateway: Gateway):
    answer = await gateway.client.get("/v1/flags", headers=ORIGIN)
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_only_listed_origins_are_let_in(start_gateway: StartGateway):
    async with start_gateway(cors_origins=["https://app.example"]) as gateway:
        mine = await gateway.client.get("/v1/status", headers=ORIGIN)
        other = await gateway.client.get("/v1/status", headers={"Origin": "https://evil.example"})
    assert mine.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-origin" not in other.headers
    assert "Origin" in other.headers["vary"]
