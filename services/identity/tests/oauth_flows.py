"""What OAuth clients and browsers do, for tests: register, authorize, exchange."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit
from uuid import UUID

import httpx
from fastapi import FastAPI
from services.identity.tests.factories import OPERATOR
from services.identity.tests.rows import add_organization, add_session, add_user

from undercroft.shared.db import Database

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
REDIRECT = "https://app.example.com/callback"
ISSUER = "http://127.0.0.1:8080"
ALL_GRANTS = [
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:device_code",
]
SCOPES = ["openid", "profile", "email", "offline_access", "identity:read", "usage:read"]


@dataclass(frozen=True)
class Registered:
    """A registered client."""

    id: str
    secret: str | None

    @property
    def basic(self) -> dict[str, str]:
        """Its credentials in the header."""
        text = f"{quote_plus(self.id)}:{quote_plus(self.secret or '')}"
        return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@dataclass(frozen=True)
class Visitor:
    """Somebody who is signed in with a cookie."""

    user_id: UUID
    organization_id: UUID
    session_id: UUID
    cookies: Mapping[str, str]


async def register(client: httpx.AsyncClient, **members: object) -> Registered:
    """Register a client as the operator."""
    is_public = members.get("type") == "public"
    grants = [grant for grant in ALL_GRANTS if not (is_public and grant == "client_credentials")]
    body = {
        "name": "Console",
        "type": "confidential",
        "redirectUris": [REDIRECT],
        "grantTypes": grants,
        "scopes": SCOPES,
        **members,
    }
    answer = await client.post("/v1/oauth-clients", json=body, headers=OPERATOR)
    assert answer.status_code == 201, answer.text
    return Registered(answer.json()["clientId"], answer.json()["clientSecret"])


async def visitor(database: Database, secret: str = "s" * 43, **session: object) -> Visitor:
    """Add a person with an organization who is signed in."""
    user_id = await add_user(database)
    organization_id = await add_organization(database, user_id)
    session_id = await add_session(database, user_id, secret, **session)
    return Visitor(user_id, organization_id, session_id, {"undercroft_session": secret})


def jar(cookies: Mapping[str, str]) -> dict[str, str]:
    """The header of a browser with these cookies and no others."""
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


def request_parameters(client_id: str, **values: object) -> dict[str, Any]:
    """The parameters of a good authorization request; None leaves one out."""
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": REDIRECT,
        "scope": "openid identity:read",
        "state": "a b/c",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **values,
    }
    return {name: value for name, value in parameters.items() if value is not None}


async def authorize(
    client: httpx.AsyncClient, registered: Registered, who: Visitor | None = None, **values: object
) -> httpx.Response:
    """Ask the authorization endpoint."""
    return await client.get(
        "/oauth/authorize",
        params=request_parameters(registered.id, **values),
        headers={} if who is None else jar(who.cookies),
    )


def sent_back(answer: httpx.Response) -> dict[str, str]:
    """The parameters that an answer sends back to the client."""
    assert answer.status_code == 303, answer.text
    location = answer.headers["Location"]
    assert location.startswith(REDIRECT), location
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def hidden_fields(page: httpx.Response) -> dict[str, str]:
    """The hidden fields of a page's form."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text))


async def consent(
    client: httpx.AsyncClient, page: httpx.Response, who: Visitor, **fields: str
) -> httpx.Response:
    """Decide on the consent page."""
    assert page.status_code == 200, page.text
    form = {**hidden_fields(page), "decision": "allow", **fields}
    cookies = jar({**who.cookies, **dict(page.cookies)})
    return await client.post("/oauth/authorize/decision", data=form, headers=cookies)


async def code_for(client: httpx.AsyncClient, registered: Registered, who: Visitor, **values: object) -> str:
    """Authorize and consent; return the code."""
    answer = await authorize(client, registered, who, **values)
    if answer.status_code == 200:
        answer = await consent(client, answer, who)
    return sent_back(answer)["code"]


async def exchange(
    client: httpx.AsyncClient, registered: Registered, code: str, **values: str
) -> httpx.Response:
    """Exchange a code for tokens."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
        **values,
    }
    return await post_token(client, registered, form)


async def post_token(
    client: httpx.AsyncClient, registered: Registered, form: Mapping[str, str], **headers: str
) -> httpx.Response:
    """Ask the token endpoint, authenticating as the client does."""
    if registered.secret is None:
        return await client.post("/oauth/token", data={"client_id": registered.id, **form}, headers=headers)
    return await client.post("/oauth/token", data=dict(form), headers={**registered.basic, **headers})


async def tokens_for(
    client: httpx.AsyncClient, registered: Registered, who: Visitor, **values: object
) -> dict[str, Any]:
    """The whole code flow; return the tokens."""
    values.setdefault("scope", "openid profile email offline_access identity:read")
    answer = await exchange(client, registered, await code_for(client, registered, who, **values))
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which is rendered as the standard says."""
    assert answer.headers["Content-Type"] == "application/json", answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json()) <= {"error", "error_description"}
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*", answer.json().get("error_description", ""))
    return answer.status_code, answer.json()["error"]


def move_clock(app: FastAPI, seconds: float) -> None:
    """Let time pass for the whole application."""
    from datetime import timedelta

    state = app.state
    clock = state.clock
    moved = lambda: clock() + timedelta(seconds=seconds)  # noqa: E731
    state.clock = moved
    for part in (state.client_authenticator, state.token_reader, state.client_credentials, state.key_ring):
        part._clock = moved
