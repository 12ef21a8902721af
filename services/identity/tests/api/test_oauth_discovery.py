"""Discovery: the documents validate, and everything they name exists."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from jsonschema import Draft202012Validator
from services.identity.tests.oauth_flows import ISSUER

SCHEMA = json.loads((Path(__file__).parent.parent / "as-metadata.schema.json").read_text())
PATHS = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")


@pytest.mark.parametrize("path", PATHS)
async def test_the_document_validates(client: httpx.AsyncClient, path: str):
    answer = await client.get(path)
    document = answer.json()
    Draft202012Validator(SCHEMA).validate(document)
    assert answer.headers["Content-Type"] == "application/json"
    assert document["issuer"] == ISSUER
    assert document["subject_types_supported"] == ["public"]
    assert "RS256" in document["id_token_signing_alg_values_supported"]
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["request_uri_parameter_supported"] is False
    assert document["authorization_response_iss_parameter_supported"] is True
    assert "openid" in document["scopes_supported"]


async def test_every_endpoint_that_is_named_exists(client: httpx.AsyncClient):
    document = (await client.get(PATHS[0])).json()
    named = [value for name, value in document.items() if name.endswith(("_endpoint", "_uri"))]
    assert len(named) == 9
    for address in named:
        assert address.startswith(ISSUER + "/")
        assert (await client.options(urlsplit(address).path)).status_code == 204


async def test_the_host_header_changes_nothing(client: httpx.AsyncClient):
    answer = await client.get(PATHS[0], headers={"Host": "evil.example.com"})
    assert answer.json()["issuer"] == ISSUER


async def test_keys_are_kept_for_minutes(client: httpx.AsyncClient):
    answer = await client.get("/.well-known/jwks.json")
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert len({key["kid"] for key in answer.json()["keys"]}) == 2
