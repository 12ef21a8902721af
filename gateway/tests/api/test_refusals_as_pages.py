"""What a browser is shown when the gateway refuses, and what everybody else still gets."""

import base64
import hashlib
import re

import httpx
import pytest

from undercroft.gateway.proxy.pages import refusal_page
from undercroft.shared.errors import RateLimitedError

from .conftest import PAGES, Gateway, freeze_limits

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def is_page(answer: httpx.Response, status: int) -> bool:
    style = re.search(r"<style>(.*)</style>", answer.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    return (
        answer.status_code == status
        and answer.headers["content-type"] == "text/html; charset=utf-8"
        and answer.headers["cache-control"] == "no-store"
        and answer.headers["vary"] == "Accept"
        and answer.headers.get_list("content-security-policy") == [policy]
        and f"style-src 'sha256-{digest}'" in policy
        and "script" not in answer.text
        and f"<code>{answer.headers['request-id']}</code>" in answer.text
    )


@pytest.mark.parametrize("path", [*PAGES, "/oauth/logout"])
async def test_a_wrong_method_on_a_page_is_told_as_a_page(gateway: Gateway, path: str):
    refused = await gateway.client.put(path, headers={"Accept": BROWSER})
    assert is_page(refused, 405)
    assert refused.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    told = await gateway.client.put(path, headers={"Accept": "application/json"})
    assert (told.status_code, told.headers["content-type"]) == (405, "application/problem+json")
    assert told.headers["vary"] == "Accept"


async def test_nothing_at_an_address_is_told_to_a_browser_as_a_page(gateway: Gateway):
    assert is_page(await gateway.client.get("/nothing<script>", headers={"Accept": BROWSER}), 404)
    for accept in ("*/*", "application/json", "application/json, text/html;q=0.5"):
        told = await gateway.client.get("/nothing", headers={"Accept": accept})
        assert (told.status_code, told.json()["code"]) == (404, "route_not_found")


async def test_a_browser_over_its_limit_learns_how_long_to_wait(gateway: Gateway):
    freeze_limits(gateway)
    headers = {"Accept": BROWSER}
    answers = [await gateway.client.post("/sign-in", headers=headers) for _ in range(121)]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert is_page(refused, 429)
    seconds = int(refused.headers["retry-after"])
    assert f"Wait {seconds} second" in refused.text
    told = await gateway.client.post("/sign-in", headers={"Accept": "application/json"})
    assert (told.status_code, told.json()["code"]) == (429, "rate_limited")


@pytest.mark.parametrize(
    ("failure", "status"),
    [(httpx.ConnectError("away"), 503), (httpx.ReadTimeout("slow"), 504), (httpx.ReadError("broken"), 502)],
)
async def test_identity_out_of_reach_is_told_to_a_browser_as_a_page(
    gateway: Gateway, failure: Exception, status: int, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(gateway.app.state.pipeline._stages.forwarder._ways.exchanges, "open", fail)
    assert is_page(await gateway.client.get("/sign-in", headers={"Accept": BROWSER}), status)
    told = await gateway.client.get("/sign-in")
    assert (told.status_code, told.headers["content-type"]) == (status, "application/problem+json")


async def test_interfaces_answer_browsers_with_problems(gateway: Gateway):
    told = await gateway.client.get("/v1/flags", headers={"Accept": BROWSER})
    assert (told.status_code, told.headers["content-type"]) == (401, "application/problem+json")
    assert "vary" not in told.headers


async def test_a_body_beyond_the_limit_of_a_page(gateway: Gateway):
    headers = {"Accept": BROWSER, "Content-Length": str(1024 * 1024)}
    answer = await gateway.client.post("/sign-in", content=b"x" * 1024 * 1024, headers=headers)
    assert is_page(answer, 413)
    assert answer.headers["connection"] == "close"


async def test_a_target_that_cannot_be_read(gateway: Gateway):
    assert is_page(await gateway.client.get("/a/%2e%2e/b", headers={"Accept": BROWSER}), 400)


def test_long_waits_are_told_in_minutes():
    page, _ = refusal_page(RateLimitedError(retry_after_seconds=121), request_id="req")
    assert b"Wait 3 minutes and try again." in page
    page, _ = refusal_page(RateLimitedError(retry_after_seconds=1), request_id="req")
    assert b"Wait 1 second and try again." in page
