"""Clients that other people wrote, through the gateway: openid-client and oauth4webapi (npm), Authlib (PyPI)."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

import httpx
import pytest
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.jwk import KeySet
from jsonschema import Draft202012Validator

from .node_clients import NodeClients
from .people import Person, Visitor, sent_back, sign_up
from .platforms import Platform

REDIRECT = "https://app.example/callback"
# openid-client drops a query when it repeats the address at the token endpoint; others keep it, as they should.
REDIRECT_WITH_QUERY = f"{REDIRECT}?kept=1"
SIGNED_OUT = "https://app.example/signed-out"
SCOPE = "openid profile email offline_access identity:read"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
SCHEMA = Path(__file__).parents[2] / "services" / "identity" / "tests" / "as-metadata.schema.json"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

LIBRARIES = ("openid_client.mjs", "oauth4webapi.mjs")
FLOWS: dict[str, dict[str, Any]] = {
    "code": {},
    "reuse": {"algorithm": "ES256"},
    "bound": {"algorithm": "ES256", "type": "public", "method": "none"},
    "credentials": {"algorithm": "ES256"},
    "device": {"type": "public", "method": "none"},
    "logout": {"method": "client_secret_post"},
}


@pytest.fixture(scope="module")
def person(platform: Platform) -> Person:
    return sign_up(platform)


@pytest.fixture
def visitor(platform: Platform, person: Person) -> Iterator[Visitor]:
    """Yield the person's browser, not signed in yet."""
    visitor = Visitor(platform, person)
    yield visitor
    visitor.close()


def register(
    platform: Platform,
    *,
    method: str = "client_secret_basic",
    algorithm: str = "RS256",
    **members: object,
) -> dict[str, Any]:
    """Register an application of the operator; returns what its developers write down."""
    is_public = members.get("type") == "public"
    body = {
        "name": "Notes",
        "type": "confidential",
        "redirectUris": [REDIRECT, REDIRECT_WITH_QUERY],
        "postLogoutRedirectUris": [SIGNED_OUT],
        "grantTypes": ["authorization_code", "refresh_token", DEVICE_CODE]
        + ([] if is_public else ["client_credentials"]),
        "scopes": SCOPE.split(),
        "tokenEndpointAuthMethod": method,
        "idTokenSignedResponseAlg": algorithm,
        **members,
    }
    made = platform.operator.post("/v1/oauth-clients", json=body)
    assert made.status_code == 201, made.text
    return {
        "issuer": platform.url,
        "clientId": made.json()["clientId"],
        "clientSecret": made.json().get("clientSecret"),
        "method": method,
        "algorithm": algorithm,
        "isBound": made.json()["dpopBoundAccessTokens"],
        "redirectUri": REDIRECT,
        "signedOutUri": SIGNED_OUT,
    }


@pytest.mark.node
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_node_client_completes(
    platform: Platform, node_clients: NodeClients, visitor: Visitor, library: str, flow: str
) -> None:
    setting = register(platform, **FLOWS[flow])
    result = node_clients.run(library, flow, setting, visit=visitor.visit)
    assert result.get("email", visitor.person.email) == visitor.person.email
    assert result.get("subject", visitor.person.id) == visitor.person.id
    if flow == "logout":
        assert not visitor.is_signed_in()


OTHER_KINDS: list[tuple[str, dict[str, Any]]] = [
    ("code", {"algorithm": "ES256", "method": "client_secret_post"}),
    ("code", {"algorithm": "ES256", "type": "public", "method": "none"}),
    ("credentials", {"method": "client_secret_post"}),
    ("bound", {"requirePushedAuthorizationRequests": True, "dpopBoundAccessTokens": True}),
]


@pytest.mark.node
@pytest.mark.parametrize("kind", OTHER_KINDS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_node_client_of_another_kind_completes(
    platform: Platform,
    node_clients: NodeClients,
    visitor: Visitor,
    library: str,
    kind: tuple[str, dict[str, Any]],
) -> None:
    flow, members = kind
    node_clients.run(library, flow, register(platform, **members), visit=visitor.visit)


# Authlib

Maker: TypeAlias = Callable[[dict[str, Any]], OAuth2Client]


@pytest.fixture
def server(platform: Platform) -> dict[str, Any]:
    """Return what the server says about itself."""
    document: dict[str, Any] = httpx.get(f"{platform.url}/.well-known/openid-configuration").json()
    return document


@pytest.fixture
def authlib_client() -> Iterator[Maker]:
    """Return a maker of Authlib's clients."""
    with ExitStack() as stack:
        yield lambda setting: stack.enter_context(_authlib_client(setting))


def _authlib_client(setting: dict[str, Any]) -> OAuth2Client:
    return OAuth2Client(
        setting["clientId"],
        setting["clientSecret"],
        token_endpoint_auth_method=setting["method"],
        redirect_uri=REDIRECT_WITH_QUERY,
        scope=SCOPE,
        code_challenge_method="S256",
        timeout=30,
    )


def id_token_of(token: dict[str, Any], server: dict[str, Any], setting: dict[str, Any]) -> CodeIDToken:
    """Verify an ID token with the published keys as Authlib's own integrations do."""
    keys = KeySet.import_key_set(httpx.get(server["jwks_uri"]).json())
    decoded = jwt.decode(token["id_token"], keys, algorithms=[setting["algorithm"]])
    options = {
        "iss": {"essential": True, "value": server["issuer"]},
        "aud": {"essential": True, "value": setting["clientId"]},
    }
    parameters = {"client_id": setting["clientId"], "access_token": token["access_token"], "nonce": "n-1"}
    claims = CodeIDToken(decoded.claims, decoded.header, options, parameters)
    claims.validate()
    return claims


def signed_in_with_authlib(
    client: OAuth2Client, visitor: Visitor, server: dict[str, Any], **parameters: str
) -> dict[str, Any]:
    address, state = client.create_authorization_url(
        server["authorization_endpoint"], code_verifier=VERIFIER, nonce="n-1", **parameters
    )
    landed = visitor.visit(address)
    assert landed.startswith(f"{REDIRECT_WITH_QUERY}&")
    assert sent_back(landed)["iss"] == server["issuer"]
    token: dict[str, Any] = client.fetch_token(
        server["token_endpoint"], authorization_response=landed, state=state, code_verifier=VERIFIER
    )
    return token


@pytest.mark.parametrize(
    "kind", list(product(["client_secret_basic", "client_secret_post", "none"], ["RS256", "ES256"]))
)
def test_authlib_signs_in_refreshes_and_revokes(
    platform: Platform,
    visitor: Visitor,
    server: dict[str, Any],
    authlib_client: Maker,
    kind: tuple[str, str],
) -> None:
    method, algorithm = kind
    is_public = method == "none"
    setting = register(
        platform, method=method, algorithm=algorithm, type="public" if is_public else "confidential"
    )
    client = authlib_client(setting)
    token = signed_in_with_authlib(client, visitor, server)
    claims = id_token_of(token, server, setting)
    assert claims["sub"] == visitor.person.id
    about = client.get(server["userinfo_endpoint"]).json()
    assert (about["sub"], about["email"]) == (visitor.person.id, visitor.person.email)

    refreshed = client.refresh_token(server["token_endpoint"])
    assert refreshed["refresh_token"] != token["refresh_token"]
    if not is_public:
        active = client.introspect_token(server["introspection_endpoint"], refreshed["access_token"])
        assert (active.json()["active"], active.json()["sub"]) == (True, visitor.person.id)
    revoke: Callable[[str, str], httpx.Response] = client.revoke_token
    revoked = revoke(server["revocation_endpoint"], refreshed["refresh_token"])
    assert revoked.status_code == 200
    if not is_public:
        ended = client.introspect_token(server["introspection_endpoint"], refreshed["access_token"])
        assert ended.json() == {"active": False}
    with pytest.raises(OAuthError, match="invalid_grant"):
        client.refresh_token(server["token_endpoint"], refreshed["refresh_token"])


def test_authlib_loses_everything_when_a_refresh_token_is_reused(
    platform: Platform, visitor: Visitor, server: dict[str, Any], authlib_client: Maker
) -> None:
    client = authlib_client(register(platform))
    first = signed_in_with_authlib(client, visitor, server)["refresh_token"]
    second = client.refresh_token(server["token_endpoint"], first)["refresh_token"]
    assert client.refresh_token(server["token_endpoint"], first)["refresh_token"] == second
    third = client.refresh_token(server["token_endpoint"], second)["refresh_token"]
    for dead in (first, third):
        with pytest.raises(OAuthError, match="invalid_grant"):
            client.refresh_token(server["token_endpoint"], dead)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_asks_for_a_programs_own_token(
    platform: Platform, server: dict[str, Any], authlib_client: Maker, method: str
) -> None:
    client = authlib_client(register(platform, method=method))
    token = client.fetch_token(
        server["token_endpoint"], grant_type="client_credentials", scope="identity:read"
    )
    assert token["scope"] == "identity:read"
    assert "refresh_token" not in token
    # The gateway takes it: a program of the operator's.
    assert client.get(f"{platform.url}/v1/organizations").status_code == 200


def test_authlib_pushes_its_request(
    platform: Platform, visitor: Visitor, server: dict[str, Any], authlib_client: Maker
) -> None:
    setting = register(platform, requirePushedAuthorizationRequests=True)
    client = authlib_client(setting)
    pushed = httpx.post(
        server["pushed_authorization_request_endpoint"],
        data={
            "response_type": "code",
            "redirect_uri": REDIRECT_WITH_QUERY,
            "scope": SCOPE,
            "state": "s-1",
            "nonce": "n-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        },
        auth=(setting["clientId"], setting["clientSecret"]),
    )
    assert pushed.status_code == 201, pushed.text
    query = urlencode({"client_id": setting["clientId"], "request_uri": pushed.json()["request_uri"]})
    landed = visitor.visit(f"{server['authorization_endpoint']}?{query}")
    token = client.fetch_token(
        server["token_endpoint"], authorization_response=landed, state="s-1", code_verifier=VERIFIER
    )
    assert id_token_of(token, server, setting)["sub"] == visitor.person.id


def test_authlib_connects_a_device(
    platform: Platform, visitor: Visitor, server: dict[str, Any], authlib_client: Maker
) -> None:
    setting = register(platform, type="public", method="none")
    started = httpx.post(
        server["device_authorization_endpoint"], data={"client_id": setting["clientId"], "scope": SCOPE}
    ).json()
    client = authlib_client(setting)

    def poll() -> dict[str, Any]:
        token: dict[str, Any] = client.fetch_token(
            server["token_endpoint"], grant_type=DEVICE_CODE, device_code=started["device_code"]
        )
        return token

    with pytest.raises(OAuthError, match="authorization_pending"):
        poll()
    assert visitor.visit(started["verification_uri_complete"]) == started["verification_uri"]
    time.sleep(started["interval"])
    assert set(poll()["scope"].split()) == set(SCOPE.split())
    assert client.get(server["userinfo_endpoint"]).json()["sub"] == visitor.person.id


def test_authlib_signs_a_person_out(
    platform: Platform, visitor: Visitor, server: dict[str, Any], authlib_client: Maker
) -> None:
    client = authlib_client(register(platform))
    token = signed_in_with_authlib(client, visitor, server)
    assert visitor.is_signed_in()
    query = {"id_token_hint": token["id_token"], "post_logout_redirect_uri": SIGNED_OUT, "state": "a b"}
    landed = visitor.visit(f"{server['end_session_endpoint']}?{urlencode(query)}")
    assert landed.partition("?")[0] == SIGNED_OUT
    assert sent_back(landed) == {"state": "a b"}
    assert not visitor.is_signed_in()


# Discovery


@pytest.mark.parametrize("name", ["openid-configuration", "oauth-authorization-server"])
def test_discovery_validates_and_is_true(platform: Platform, name: str) -> None:
    answer = httpx.get(f"{platform.url}/.well-known/{name}")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    assert document["issuer"] == platform.url
    assert {"RS256", "ES256"} <= set(document["id_token_signing_alg_values_supported"])


# What each endpoint answers to an empty GET; another method is taken there when it is 405.
EMPTY_GET = {
    "authorization_endpoint": 400,
    "token_endpoint": 405,
    "userinfo_endpoint": 401,
    "jwks_uri": 200,
    "introspection_endpoint": 405,
    "revocation_endpoint": 405,
    "pushed_authorization_request_endpoint": 405,
    "device_authorization_endpoint": 405,
    "end_session_endpoint": 303,
}


def test_every_endpoint_that_discovery_lists_exists(platform: Platform) -> None:
    document = httpx.get(f"{platform.url}/.well-known/openid-configuration").json()
    listed = {key: value for key, value in document.items() if key.endswith(("_endpoint", "_uri"))}
    assert all(address.startswith(f"{platform.url}/") for address in listed.values())
    assert {name: httpx.get(address).status_code for name, address in listed.items()} == EMPTY_GET
    for name, address in listed.items():
        if EMPTY_GET[name] == 405:
            posted = httpx.post(address, data={"nothing": "here"})
            assert posted.status_code in {400, 401}, name
            assert posted.json()["error"] in {"invalid_request", "invalid_client"}, name
