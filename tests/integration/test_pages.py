"""The pages that people see, in a real browser."""

import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from .platforms import Platform

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


def dom_of(url: str, profile: Path) -> str:
    """Return the document as it stands after its scripts have run."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def wait_for_every_document(platform: Platform) -> None:
    """Wait until every service has made its document: a busy machine needs longer than the gateway waits."""
    deadline = time.monotonic() + 60
    while "x-undercroft-missing" in httpx.get(f"{platform.url}/openapi.json", timeout=30).json():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_the_documentation_lists_every_operation_without_a_network(
    platform: Platform, tmp_path: Path
) -> None:
    wait_for_every_document(platform)
    page = dom_of(f"{platform.url}/docs", tmp_path)
    assert "/ofrep/v1/evaluate/flags/{key}" in page
    assert (
        "/v1/organizations/{organization_id}/api-keys" in page or "/v1/organizations/{org}/api-keys" in page
    )
    assert "Create organization API key" in page
    assert "/internal/" not in page


def test_the_address_alone_leads_to_the_documentation(platform: Platform, tmp_path: Path) -> None:
    wait_for_every_document(platform)
    assert "Create organization API key" in dom_of(platform.url, tmp_path)


def test_the_status_page_names_every_service(platform: Platform, tmp_path: Path) -> None:
    page = dom_of(f"{platform.url}/v1/status", tmp_path)
    assert all(name in page for name in ("identity", "flags", "gateway"))
