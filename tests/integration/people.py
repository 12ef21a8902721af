"""People who use the platform: their mails, how they join, and a browser without scripts to go through pages."""

import email
import email.policy
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Final
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
from typing_extensions import override

from .platforms import Platform

PROMISED_SECONDS: Final = 1.0
PASSWORD: Final = "correct horse battery staple 7"
_LONGEST_JOURNEY: Final = 20
_PATIENCE_SECONDS: Final = 30


@dataclass
class Person:
    """Somebody who has signed in."""

    id: str
    email: str
    session: str
    headers: dict[str, str]
    organizations: list[str]


def mails_to(platform: Platform, address: str) -> list[str]:
    """Return the plain texts of the mails to an address, oldest first."""
    found = []
    for file in sorted(platform.mail_directory.glob("*.eml")):
        message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        if address in str(message["To"]):
            body = message.get_body(("plain",))
            assert body is not None
            found.append(str(body.get_content()))
    return found


def link_token(platform: Platform, address: str) -> str:
    """Return the token of the link in the newest mail to an address."""
    deadline = time.monotonic() + 10
    while not (texts := mails_to(platform, address)):
        assert time.monotonic() < deadline, "no mail came"
        time.sleep(0.05)
    match = re.search(r"[?&#/]token=([A-Za-z0-9_-]+)", texts[-1])
    assert match is not None, texts[-1]
    return match[1]


def mailed_link(platform: Platform, address: str, page: str) -> str:
    """Return the newest link to a page in the mails to an address."""
    pattern = re.compile(rf"{re.escape(platform.url)}{page}\?\S+")
    deadline = time.monotonic() + 20
    while not (links := [link for text in mails_to(platform, address) for link in pattern.findall(text)]):
        assert time.monotonic() < deadline, f"no mail with a link to {page} came"
        time.sleep(0.05)
    return str(links[-1])


def sign_up(platform: Platform) -> Person:
    """Register with an organization, follow the mail's link, sign in, and found a second organization."""
    address = f"{secrets.token_hex(6)}@example.org"
    body = {"email": address, "password": PASSWORD, "name": "Ada", "organization": {"name": "First"}}
    registered = httpx.post(f"{platform.url}/v1/users", json=body)
    assert registered.status_code == 201, registered.text
    verified = httpx.put(f"{platform.url}/v1/email-verifications/{link_token(platform, address)}")
    assert verified.status_code == 200, verified.text
    answer = httpx.post(f"{platform.url}/v1/sessions", json={"email": address, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    assert "undercroft_session" in answer.headers["set-cookie"]
    session = answer.json()
    headers = {"Authorization": f"Bearer {session['accessToken']}"}
    founded = httpx.post(f"{platform.url}/v1/organizations", json={"name": "Second"}, headers=headers)
    assert founded.status_code == 201, founded.text
    mine = httpx.get(f"{platform.url}/v1/me/memberships", headers=headers).json()["items"]
    return Person(
        session["userId"], address, session["id"], headers, [each["organizationId"] for each in mine]
    )


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so, no longer than promised."""
    deadline = time.monotonic() + PROMISED_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so; the limit only keeps a broken platform from being waited for."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class _Form(HTMLParser):
    """Reads the first form of a page as a browser fills it in, and where the page refreshes to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.onward: str | None = None
        self.fields: dict[str, str] = {}
        self.choices: dict[str, list[str]] = {}
        self._select = ""
        self._is_over = False
        self.feed(page)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "meta" and values.get("http-equiv") == "refresh":
            self.onward = values["content"].partition("url=")[2]
        if self._is_over:
            return
        if tag == "form":
            self.action = values["action"]
        elif self.action is not None and tag == "input" and "name" in values:
            self.fields[values["name"]] = values.get("value", "")
        elif self.action is not None and tag == "select":
            self._select = values["name"]
        elif self.action is not None and tag == "button" and "name" in values:
            self.fields.setdefault(values["name"], values["value"])  # the first one is pressed
        elif self.action is not None and tag == "option":
            self.choices.setdefault(self._select, []).append(values.get("value", ""))

    @override
    def handle_endtag(self, tag: str) -> None:
        self._is_over = self._is_over or (tag == "form" and self.action is not None)


class Visitor:
    """Somebody with a browser that runs no scripts, who signs in where asked and says yes to everything."""

    def __init__(self, platform: Platform, person: Person) -> None:
        self._base = platform.url
        self.person = person
        self._client = httpx.Client(base_url=platform.url, timeout=30)
        self.seen: list[str] = []

    def close(self) -> None:
        self._client.close()

    def is_signed_in(self) -> bool:
        return self._client.get("/account").status_code == 200

    def visit(self, address: str) -> str:
        """Go through the pages from an address; return where they lead, or the last page's address."""
        self.seen = []
        answer = self._client.get(address)
        for _ in range(_LONGEST_JOURNEY):
            self.seen.append(str(answer.url))
            here = str(answer.url)
            if answer.is_redirect:
                onward = urljoin(here, answer.headers["location"])
                if not onward.startswith(f"{self._base}/"):
                    return onward
                answer = self._client.get(onward)
                continue
            assert answer.status_code == 200, (here, answer.status_code, answer.text)
            form = _Form(answer.text)
            if form.onward is not None:
                answer = self._client.get(urljoin(here, form.onward))
            elif form.action is None or urlsplit(form.action).path == "/account/profile":
                return here
            else:
                answer = self._client.post(urljoin(here, form.action), data=self._fill_in(form))
        raise AssertionError(f"no end: {self.seen}")

    def _fill_in(self, form: _Form) -> dict[str, str]:
        fields = dict(form.fields)
        if "password" in fields:
            fields |= {"email": self.person.email, "password": PASSWORD}
        for name, values in form.choices.items():
            fields[name] = next(value for value in values if value)
        return fields


def sent_back(address: str) -> dict[str, str]:
    """Return the parameters with which somebody came back to a client."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
