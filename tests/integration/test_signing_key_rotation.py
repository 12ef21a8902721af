"""Signing keys are replaced under traffic: tokens of the old key and of the new one pass, and no request is refused."""

import asyncio
import json
import threading
import time
from base64 import urlsafe_b64decode
from typing import Self

import httpx
import pytest

from undercroft.identity.main import signing_keys
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.settings import load_settings

from .people import eventually
from .platforms import Platform

OVERLAP_SECONDS = 3
PAUSE_SECONDS = 0.02


class Traffic:
    """A program that gets tokens and uses each, and one more of the time before, all the while."""

    def __init__(self, platform: Platform) -> None:
        self._http = httpx.Client(base_url=platform.url, timeout=30)
        made = platform.operator.post(
            "/v1/oauth-clients",
            json={
                "name": "Traffic",
                "type": "confidential",
                "grantTypes": ["client_credentials"],
                "scopes": ["operator"],
            },
        ).json()
        self._client = (made["clientId"], made["clientSecret"])
        self.refusals: list[tuple[str, int, str]] = []
        self.uses: dict[str, int] = {}
        self._is_over = threading.Event()
        self._first = self._get_token()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._http.close()

    def _run(self) -> None:
        while not self._is_over.is_set():
            token = self._get_token()
            for each in (token, self._first):
                answer = self._http.get("/v1/organizations", headers={"Authorization": f"Bearer {each}"})
                self._note("/v1/organizations", answer)
            kid = key_id(token)
            self.uses[kid] = self.uses.get(kid, 0) + 1
            time.sleep(PAUSE_SECONDS)

    def _get_token(self) -> str:
        form = {"grant_type": "client_credentials", "scope": "operator"}
        answer = self._http.post("/oauth/token", data=form, auth=self._client)
        self._note("/oauth/token", answer)
        return str(answer.json()["access_token"]) if answer.status_code == 200 else self._first

    def _note(self, what: str, answer: httpx.Response) -> None:
        if answer.status_code != 200:
            self.refusals.append((what, answer.status_code, answer.text))


def key_id(token: str) -> str:
    header = token.partition(".")[0]
    return str(json.loads(urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])


@pytest.mark.parametrize("platform", ["separate-processes"], indirect=True)
def test_no_request_is_refused_while_signing_keys_are_replaced(platform: Platform) -> None:
    settings = load_settings(
        IdentitySettings,
        secret_key=platform.secret_keys["identity"],
        database_url=platform.database_urls["identity"],
    )
    # What `keys rotate` does, with less patience than settings allow.
    hurried = settings.model_copy(update={"signing_key_overlap_seconds": OVERLAP_SECONDS})
    with Traffic(platform) as traffic:
        eventually(lambda: len(traffic.uses) == 1, "no traffic")
        asyncio.run(signing_keys(hurried, rotate=True))
        eventually(lambda: len(traffic.uses) == 2, "the new key does not sign")
        used = sum(traffic.uses.values())
        eventually(lambda: sum(traffic.uses.values()) >= used + 20, "the traffic stands still")
    assert traffic.refusals == []
    published = {key["kid"] for key in httpx.get(f"{platform.url}/.well-known/jwks.json").json()["keys"]}
    assert set(traffic.uses) <= published
