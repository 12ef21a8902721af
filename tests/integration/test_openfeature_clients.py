"""OpenFeature's SDKs of npm through the gateway: for servers, for browsers with ETags, and told of changes as they happen."""

import functools
import http.server
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, async_playwright, expect
from typing_extensions import override

from .node_clients import NodeClients
from .ofrep import check_answer
from .platforms import Platform
from .test_openfeature_sdk import FLAGS

CHROMIUM = which("chromium")
SCRIPT = "openfeature.mjs"
EVALUATION = "{}/ofrep/v1/evaluate/flags"
PAGE = '<!doctype html><title>shop</title><output></output><script type="module" src="bundle.js"></script>'
TIMEOUT_MILLISECONDS = 20_000

pytestmark = pytest.mark.node


def announcement(text: str) -> dict[str, Any]:
    variants = {each: each for each in ("first", "second", "third")}
    return {"state": "ENABLED", "variants": variants, "defaultVariant": text}


def announce(platform: Platform, text: str) -> None:
    flags = {**FLAGS["flags"], "announcement": announcement(text)}
    stored = platform.operator.put("/v1/environments/npm/flagd", json={"flags": flags})
    assert stored.status_code == 200, stored.text


@pytest.fixture
def key(platform: Platform) -> Mapping[str, Any]:
    platform.operator.post("/v1/environments", json={"key": "npm", "name": "npm"})
    announce(platform, "first")
    key = platform.make_key(scopes=["flags:evaluate"], environment="npm")
    platform.wait_for_flag(key["secret"], "announcement")
    return key


class Journeys:
    """Runs a script's flow; whatever it received is held against OFREP's schema."""

    def __init__(self, platform: Platform, clients: NodeClients, key: Mapping[str, Any]) -> None:
        self._platform = platform
        self._clients = clients
        self._key = key

    def run(self, flow: str) -> dict[str, Any]:
        setting = {"url": self._platform.url, "key": self._key["secret"]}
        result = self._clients.run(SCRIPT, flow, setting, visit=self._do)
        for each in result["answers"]:
            assert (each["method"], each["url"].startswith(EVALUATION.format(self._platform.url))) == (
                "POST",
                True,
            )
            check_answer("POST", each["url"], each["status"], each["contentType"], each["body"].encode())
        return result

    def _do(self, request: str) -> str:
        verb, _, text = request.partition(" ")
        if verb == "change":
            announce(self._platform, text)
        else:
            revoked = self._platform.operator.delete(f"/v1/api-keys/{self._key['id']}")
            assert revoked.status_code == 204, revoked.text
        return "done"


@pytest.fixture
def journeys(platform: Platform, node_clients: NodeClients, key: Mapping[str, Any]) -> Journeys:
    return Journeys(platform, node_clients, key)


def outcome(details: Mapping[str, Any]) -> tuple[object, object]:
    return details["value"], details.get("errorCode") or details["reason"]


def test_the_provider_for_servers(journeys: Journeys) -> None:
    seen = journeys.run("server")
    assert outcome(seen["boolean"]) == (True, "STATIC")
    assert outcome(seen["text"]) == ("hi", "STATIC")
    assert outcome(seen["number"]) == (3, "STATIC")
    assert outcome(seen["object"]) == ({"background": "#000"}, "STATIC")
    assert outcome(seen["targeted"]) == (True, "TARGETING_MATCH")
    assert outcome(seen["others"]) == (False, "DEFAULT")
    assert outcome(seen["unknown"]) == (True, "FLAG_NOT_FOUND")
    assert outcome(seen["mismatch"]) == (7, "TYPE_MISMATCH")


def test_the_provider_for_browsers_asks_with_what_it_has(journeys: Journeys) -> None:
    seen = journeys.run("web")
    assert outcome(seen["first"]["boolean"]) == (True, "STATIC")
    assert outcome(seen["first"]["number"]) == (3, "STATIC")
    assert outcome(seen["first"]["targeted"]) == outcome(seen["again"]) == (True, "TARGETING_MATCH")
    assert outcome(seen["first"]["disabled"]) == (False, "DISABLED")
    assert outcome(seen["first"]["unknown"]) == (True, "FLAG_NOT_FOUND")
    assert outcome(seen["others"]) == (False, "DEFAULT")
    first, again, others = seen["answers"]
    assert (first["status"], again["status"], others["status"]) == (200, 304, 200)
    assert again["ifNoneMatch"] == first["etag"] == again["etag"] != others["etag"]


def test_the_provider_for_browsers_is_told_of_changes(journeys: Journeys) -> None:
    seen = journeys.run("live")
    assert seen["values"] == ["first", "second", "third"]
    assert seen["seen"] == [["announcement"], ["announcement"]]
    assert seen["fetches"] == 2  # one for each change: nothing was polled
    assert [each["opened"] for each in seen["streams"]] == [1]


def test_a_revoked_key_ends_live_updates(journeys: Journeys) -> None:
    seen = journeys.run("revoked")
    assert seen["streams"][0]["errors"][-1] == 401
    assert seen["statuses"][-1] == 401


@pytest.fixture
def shop(node_clients: NodeClients, tmp_path: Path) -> Iterator[str]:
    """Serve a page from an origin of its own."""
    bundle = {"entry": "web_page.mjs", "output": str(tmp_path / "bundle.js")}
    node_clients.run("bundle.mjs", "page", bundle, visit=str)
    (tmp_path / "index.html").write_text(PAGE)
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_address[1]}/index.html"
        server.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Logs nothing."""

    @override
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield await browser.new_page()
        await browser.close()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_a_page_of_another_origin_shows_a_change_as_it_happens(
    platform: Platform, key: Mapping[str, Any], shop: str, page: Page
) -> None:
    bulk: list[str] = []
    page.on("request", lambda request: bulk.append(request.url) if request.method == "POST" else None)
    await page.goto(f"{shop}#{urlencode({'url': platform.url, 'key': key['secret']})}")
    shown = page.locator("output")
    await expect(shown).to_have_text("first", timeout=TIMEOUT_MILLISECONDS)
    async with page.expect_request(f"{platform.url}/ofrep/v1/evaluate/flags?*") as told:
        announce(platform, "second")
    await expect(shown).to_have_text("second", timeout=TIMEOUT_MILLISECONDS)
    assert "flagConfigEtag=" in (await told.value).url  # what the event said
    await page.reload()
    await expect(shown).to_have_text("second", timeout=TIMEOUT_MILLISECONDS)
    announce(platform, "third")
    await expect(shown).to_have_text("third", timeout=TIMEOUT_MILLISECONDS)
    assert len(bulk) <= 6
