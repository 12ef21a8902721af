"""The pages of accounts in a real browser: whole journeys, and each page looked at by axe-core."""

import asyncio
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pyotp
import pytest
from playwright.async_api import Page, async_playwright, expect

from .node_clients import NodeClients
from .people import PASSWORD, mailed_link, sent_back, sign_up
from .platforms import Platform, free_port

CHROMIUM = shutil.which("chromium")
NEW_PASSWORD = "another quiet vault of stone"
TIMEOUT_MILLISECONDS = 60_000
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
WIDE, NARROW = {"width": 1100, "height": 800}, {"width": 360, "height": 740}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.node,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.parametrize("platform", ["one-process"], indirect=True),
]


class Inspector:
    """Looks at a page as people do: in light, in the dark, on a narrow screen; pictures say what it saw."""

    def __init__(self, page: Page, axe: str, pictures: Path) -> None:
        self.page = page
        self._axe = axe
        self._pictures = pictures

    async def look(self, name: str) -> None:
        page = self.page
        await page.wait_for_load_state()
        await page.evaluate(
            "() => document.querySelectorAll('details').forEach((each) => { each.open = true })"
        )
        await page.evaluate(self._axe)
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            for width, size in (("wide", WIDE), ("narrow", NARROW)):
                await page.set_viewport_size({"width": size["width"], "height": size["height"]})
                await page.screenshot(path=self._pictures / f"{name}.{scheme}.{width}.png", full_page=True)
                found = await page.evaluate("(rules) => axe.run({ runOnly: rules })", RULES)
                problems = [
                    (each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]
                ]
                assert problems == [], (name, scheme, width)
                assert found["passes"], name
                overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert overflow <= 0, (name, width)
        await page.set_viewport_size({"width": WIDE["width"], "height": WIDE["height"]})

    async def fill(self, **fields: str) -> None:
        for label, text in fields.items():
            await self.page.locator(f"input[name={label}]:visible").fill(text)

    async def press(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def arrive(self, path: str) -> None:
        """Wait for a page of the platform."""
        await self.page.wait_for_url(re.compile(rf"^[^?#]+{re.escape(path)}([?#]|$)"))

    async def sign_in(self, email: str, password: str = PASSWORD) -> None:
        await self.fill(email=email, password=password)
        await self.press("Sign in")


@pytest.fixture
async def inspector(node_clients: NodeClients, tmp_path: Path) -> AsyncIterator[Inspector]:
    """Yield a browser's page; its pictures lie where ACCOUNT_PAGE_PICTURES says."""
    axe = node_clients.module("axe-core/axe.min.js").read_text()
    pictures = Path(os.environ.get("ACCOUNT_PAGE_PICTURES", tmp_path))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context()
        context.set_default_timeout(TIMEOUT_MILLISECONDS)
        yield Inspector(await context.new_page(), axe, pictures)
        await context.close()
        await browser.close()


@asynccontextmanager
async def application() -> AsyncIterator[str]:
    """Run an application that people come back to; yields its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nback")
        await writer.drain()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}/callback"


def register_client(platform: Platform, redirect_uri: str) -> str:
    body = {
        "name": "Notes of the Expedition",
        "type": "public",
        "redirectUris": [redirect_uri],
        "postLogoutRedirectUris": [redirect_uri],
        "grantTypes": [
            "authorization_code",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:device_code",
        ],
        "scopes": ["openid", "profile", "email", "offline_access", "identity:read"],
    }
    made = platform.operator.post("/v1/oauth-clients", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["clientId"])


def authorize_address(platform: Platform, client_id: str, redirect_uri: str) -> str:
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": "openid profile email offline_access identity:read",
        "state": "s-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return f"{platform.url}/oauth/authorize?{urlencode(query)}"


def start_device(platform: Platform, client_id: str) -> dict[str, Any]:
    form = {"client_id": client_id, "scope": "openid identity:read"}
    started: dict[str, Any] = httpx.post(f"{platform.url}/oauth/device_authorization", data=form).json()
    return started


async def join(platform: Platform, inspector: Inspector) -> str:
    """Register, confirm and sign in, with the mistakes that people make; returns the address."""
    page, address = inspector.page, f"{secrets.token_hex(6)}@example.org"
    await page.goto(f"{platform.url}/register")
    await inspector.look("register")
    await inspector.fill(name="Ada", email=address, password="qwertyuiop", organization="Expedition")
    await inspector.press("Create account")
    await expect(page.get_by_role("alert")).to_be_visible()
    await inspector.look("register-refused")
    await inspector.fill(password=PASSWORD)
    await inspector.press("Create account")
    await inspector.arrive("/register/sent")
    await inspector.look("register-sent")

    await page.goto(await asyncio.to_thread(mailed_link, platform, address, "/verify-email"))
    await inspector.look("verify-email")
    await inspector.press("Confirm my address")
    await inspector.arrive("/sign-in")
    await inspector.look("sign-in")
    await inspector.sign_in(address, "not the password")
    await expect(page.get_by_role("alert").first).to_be_visible()
    await inspector.look("sign-in-refused")
    await inspector.sign_in(address)
    await inspector.arrive("/account")
    await inspector.look("account")
    return address


async def protect(platform: Platform, inspector: Inspector) -> pyotp.TOTP:
    """Enable one-time codes, then sign out; returns the authenticator app."""
    page = inspector.page
    await inspector.press("Set up")
    await inspector.arrive("/account/totp")
    await inspector.look("totp")
    totp = pyotp.TOTP((await page.locator(".secret").inner_text()).replace(" ", ""))
    await inspector.fill(code=totp.now())
    await inspector.press("Enable")
    await expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    await inspector.look("recovery-codes")
    await page.get_by_role("link", name="I have kept them").click()
    await inspector.arrive("/account")
    await inspector.look("account-protected")
    await page.goto(f"{platform.url}/account/delete")
    await inspector.look("account-delete")

    await page.goto(f"{platform.url}/sign-out")
    await inspector.look("sign-out")
    await inspector.press("Sign out")
    await inspector.arrive("/sign-in")
    return totp


async def test_somebody_joins_protects_the_account_and_allows_an_application(
    platform: Platform, inspector: Inspector
):
    page = inspector.page
    address = await join(platform, inspector)
    totp = await protect(platform, inspector)
    async with application() as redirect_uri:
        client_id = register_client(platform, redirect_uri)
        await page.goto(authorize_address(platform, client_id, redirect_uri))
        await inspector.arrive("/sign-in")
        await inspector.sign_in(address)
        await inspector.arrive("/sign-in/second-factor")
        await inspector.look("second-factor")
        # The code that enabled it was used; the next one is taken early.
        await inspector.fill(code=totp.at(int(time.time()) + 30))
        await inspector.press("Go on")
        await expect(page.get_by_role("button", name="Allow", exact=True)).to_be_visible()
        await inspector.look("consent")
        await inspector.press("Allow")
        await page.wait_for_url(f"{redirect_uri}?*")
        back = sent_back(page.url)
        assert (back["state"], back["iss"]) == ("s-1", platform.url)
        assert back["code"]

        await page.goto(f"{platform.url}/account")
        await inspector.look("account-with-application")
        query = {"client_id": client_id, "post_logout_redirect_uri": redirect_uri}
        await page.goto(f"{platform.url}/oauth/logout?{urlencode(query)}")
        await inspector.look("logout")
        await inspector.press("Sign out")
        await page.wait_for_url(redirect_uri)
    await page.goto(f"{platform.url}/oauth/authorize?client_id=nobody")
    await inspector.look("error")


async def test_somebody_forgets_the_password_connects_a_device_and_is_invited(
    platform: Platform, inspector: Inspector
):
    page = inspector.page
    person = await asyncio.to_thread(sign_up, platform)
    await page.goto(f"{platform.url}/forgot-password")
    await inspector.look("forgot-password")
    await inspector.fill(email=person.email)
    await inspector.press("Send the link")
    await inspector.arrive("/forgot-password/sent")
    await inspector.look("forgot-password-sent")
    await page.goto(await asyncio.to_thread(mailed_link, platform, person.email, "/reset-password"))
    await inspector.look("reset-password")
    await inspector.fill(password=NEW_PASSWORD)
    await inspector.press("Set the password")
    await inspector.arrive("/sign-in")

    client_id = register_client(platform, "http://127.0.0.1/callback")
    started = start_device(platform, client_id)
    await page.goto(started["verification_uri"])
    await inspector.sign_in(person.email, NEW_PASSWORD)
    await inspector.arrive("/device")
    await inspector.look("device")
    await inspector.fill(user_code="AAAA-AAAA")
    await inspector.press("Go on")
    await expect(page.get_by_role("alert").first).to_be_visible()
    await inspector.look("device-refused")
    await inspector.fill(user_code=started["user_code"].lower())
    await inspector.press("Go on")
    await inspector.look("device-consent")
    await page.get_by_label("Organization").select_option(label="First")
    await inspector.press("Allow")
    await expect(page.get_by_role("heading", name="Your device is connected")).to_be_visible()
    await inspector.look("device-done")

    guest = f"{secrets.token_hex(6)}@example.org"
    path = f"/v1/organizations/{person.organizations[0]}/invitations"
    invited = platform.operator.post(path, json={"email": guest, "role": "developer"})
    assert invited.status_code == 201, invited.text
    link = await asyncio.to_thread(mailed_link, platform, guest, "/invitation")
    await page.goto(link)
    await inspector.look("invitation-of-somebody-else")
    await page.context.clear_cookies()
    await page.goto(link)
    await inspector.look("invitation")
    await inspector.fill(name="Grace", password=PASSWORD)
    await inspector.press("Create account and join")
    await expect(page.get_by_text("First")).to_be_visible()
    await inspector.look("invitation-accepted")
