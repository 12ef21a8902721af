"""Builders of what the tests of the identity service talk about."""

from collections.abc import Mapping
from uuid import UUID

import httpx
from pydantic import SecretStr

from undercroft.identity.settings import IdentitySettings
from undercroft.shared.settings import load_settings
from undercroft.shared.testing import (
    TEST_SECRET,
    api_key_principal,
    principal_headers,
    principal_keys,
    service_headers,
)

NO_ORGANIZATION = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
NO_ORGANIZATION_ID = "org_01h455vb4pex5vsknk084sn02q"
NO_KEY_ID = "key_01h455vb4pex5vsknk084sn02q"


def settings(database_url: str, **values: object) -> IdentitySettings:
    """Settings of a service on that database."""
    return load_settings(
        IdentitySettings,
        database_url=SecretStr(database_url),
        secret_key=TEST_SECRET,
        principal_keys=principal_keys("identity"),
        access_log=False,
        **{"argon2_memory_kib": 64, **values},
    )


def caller(
    *scopes: str, organization_id: UUID | None = None, environment: str | None = None
) -> Mapping[str, str]:
    """Headers of an API key with these scopes."""
    principal = api_key_principal(*scopes, organization_id=organization_id, environment=environment)
    return principal_headers(principal, audience="identity")


OPERATOR = caller("operator")
GATEWAY = service_headers("gateway", audience="identity")


def outcome(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["code"]


async def create_organization(client: httpx.AsyncClient, **members: object) -> dict[str, str]:
    """Create an organization as the operator and return it."""
    answer = await client.post("/v1/organizations", json={"name": "Acme", **members}, headers=OPERATOR)
    assert answer.status_code == 201, answer.text
    organization: dict[str, str] = answer.json()
    return organization


async def create_key(
    client: httpx.AsyncClient, path: str = "/v1/api-keys", **members: object
) -> dict[str, str]:
    """Create an API key as the operator and return it with its secret."""
    body = {"name": "CI", "scopes": ["identity:read"], **members}
    answer = await client.post(path, json=body, headers=OPERATOR)
    assert answer.status_code == 201, answer.text
    key: dict[str, str] = answer.json()
    return key


async def verify(client: httpx.AsyncClient, secret: str) -> httpx.Response:
    """Verify a secret as the gateway does."""
    return await client.post("/internal/api-keys/verify", json={"secret": secret}, headers=GATEWAY)
