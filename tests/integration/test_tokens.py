"""Access tokens through the gateway: people who sign in, programs, keys' derived tokens, tokens bound to a key."""

import secrets
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import httpx
import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from undercroft.shared.serialization import dumps

from .ofrep import check_httpx
from .people import link_token, mails_to, sign_up, until
from .platforms import Platform

EVALUATION = "/ofrep/v1/evaluate/flags/nothing-here?environment=production"
# OFREP's answer for an unknown flag: whoever gets it has passed the door.
ADMITTED = 404


def status(platform: Platform, path: str, headers: dict[str, str]) -> int:
    return httpx.get(platform.url + path, headers=headers).status_code


def evaluated(platform: Platform, headers: dict[str, str]) -> httpx.Response:
    answer = httpx.post(platform.url + EVALUATION, json={"context": {}}, headers=headers)
    check_httpx(answer)
    return answer


def make_client(platform: Platform) -> tuple[str, str]:
    """Register a program of the operator's own, which may evaluate in every environment."""
    client = {
        "name": "Nightly job",
        "type": "confidential",
        "grantTypes": ["client_credentials"],
        "scopes": ["operator", "identity:read"],
    }
    made = platform.operator.post("/v1/oauth-clients", json=client)
    assert made.status_code == 201, made.text
    return made.json()["clientId"], made.json()["clientSecret"]


def client_token(platform: Platform, client: tuple[str, str], scope: str, **headers: str) -> dict[str, Any]:
    form = {"grant_type": "client_credentials", "scope": scope}
    answer = httpx.post(f"{platform.url}/oauth/token", data=form, auth=client, headers=headers)
    assert answer.status_code == 200, answer.text
    token: dict[str, Any] = answer.json()
    return token


def test_a_person_signs_in_chooses_an_organization_and_signs_out(platform: Platform) -> None:
    person = sign_up(platform)
    first, second = person.organizations
    assert httpx.get(f"{platform.url}/v1/me", headers=person.headers).json()["id"] == person.id
    for organization, other in ((first, second), (second, first)):
        headers = {**person.headers, "X-Organization": organization}
        assert status(platform, f"/v1/organizations/{organization}", headers) == 200
        assert status(platform, f"/v1/organizations/{other}", headers) == 404
    foreign = platform.operator.post("/v1/organizations", json={"name": "Foreign"}).json()["id"]
    answer = httpx.get(f"{platform.url}/v1/me", headers={**person.headers, "X-Organization": foreign})
    assert (answer.status_code, answer.json()["code"]) == (404, "organization_not_found")

    signed_out = httpx.delete(f"{platform.url}/v1/sessions/{person.session}", headers=person.headers)
    assert signed_out.status_code == 204
    until(lambda: status(platform, "/v1/me", person.headers) == 401)
    answer = httpx.get(f"{platform.url}/v1/me", headers=person.headers)
    assert answer.headers["www-authenticate"] == 'Bearer realm="undercroft", error="invalid_token"'


def test_a_person_who_is_disabled_is_refused_within_a_second(platform: Platform) -> None:
    person = sign_up(platform)
    assert [status(platform, "/v1/me", person.headers) for _ in range(3)] == [200, 200, 200]
    answer = platform.operator.patch(f"/v1/users/{person.id}", json={"isDisabled": True})
    assert answer.status_code == 200
    until(lambda: status(platform, "/v1/me", person.headers) == 401)


def test_a_role_that_is_taken_away_counts_within_a_second(platform: Platform) -> None:
    owner, guest = sign_up(platform), sign_up(platform)
    organization = owner.organizations[0]
    address = httpx.get(f"{platform.url}/v1/me", headers=guest.headers).json()["email"]
    before = len(mails_to(platform, address))
    path = f"{platform.url}/v1/organizations/{organization}"
    invited = httpx.post(
        f"{path}/invitations", json={"email": address, "role": "admin"}, headers=owner.headers
    )
    assert invited.status_code == 201, invited.text
    until(lambda: len(mails_to(platform, address)) > before)
    token = link_token(platform, address)
    accepted = httpx.post(f"{platform.url}/v1/invitations/{token}/accept", headers=guest.headers)
    assert accepted.status_code in {200, 201, 204}, accepted.text
    there = {**guest.headers, "X-Organization": organization}

    def may_rename() -> bool:
        return httpx.patch(path, json={"name": "Renamed"}, headers=there).status_code == 200

    until(may_rename)
    assert may_rename()
    demoted = httpx.patch(f"{path}/members/{guest.id}", json={"role": "viewer"}, headers=owner.headers)
    assert demoted.status_code == 200, demoted.text
    until(lambda: not may_rename())
    assert status(platform, f"/v1/organizations/{organization}", there) == 200
    removed = httpx.delete(f"{path}/members/{guest.id}", headers=owner.headers)
    assert removed.status_code == 204
    until(lambda: status(platform, f"/v1/organizations/{organization}", there) == 404)


def test_a_program_evaluates_flags_with_a_token_of_its_own(platform: Platform) -> None:
    client = make_client(platform)
    headers = {"Authorization": f"Bearer {client_token(platform, client, 'operator')['access_token']}"}
    assert evaluated(platform, headers).status_code == ADMITTED
    narrow = client_token(platform, client, "identity:read")["access_token"]
    refused = evaluated(platform, {"Authorization": f"Bearer {narrow}"})
    assert refused.status_code == 403
    assert 'scope="flags:evaluate"' in refused.headers["www-authenticate"]

    assert platform.operator.delete(f"/v1/oauth-clients/{client[0]}").status_code == 204
    until(lambda: evaluated(platform, headers).status_code == 401)


def test_a_derived_token_opens_less_than_its_key_and_ends_with_it(platform: Platform) -> None:
    organization = platform.operator.post("/v1/organizations", json={"name": "Keys"}).json()["id"]
    key = platform.make_key(
        scopes=["flags:evaluate", "identity:read"], environment="production", organization=organization
    )
    path = f"/v1/organizations/{organization}/api-keys/{key['id']}"
    body = {"scopes": ["flags:evaluate"], "expiresInSeconds": 60}
    derived = platform.operator.post(f"{path}/tokens", json=body)
    assert derived.status_code == 201, derived.text
    headers = {"Authorization": f"Bearer {derived.json()['accessToken']}"}
    assert evaluated(platform, headers).status_code == ADMITTED
    assert status(platform, f"/v1/organizations/{organization}", headers) == 403
    assert status(platform, f"/v1/organizations/{organization}", {"X-API-Key": key["secret"]}) == 200

    assert platform.operator.delete(path).status_code == 204
    until(lambda: evaluated(platform, headers).status_code == 401)


def test_a_derived_token_works_only_from_its_keys_networks(platform: Platform) -> None:
    organization = platform.operator.post("/v1/organizations", json={"name": "Networks"}).json()["id"]
    key = platform.make_key(scopes=["flags:evaluate"], environment="production", organization=organization)
    path = f"/v1/organizations/{organization}/api-keys/{key['id']}"
    derived = platform.operator.post(f"{path}/tokens", json={"scopes": ["flags:evaluate"]}).json()
    headers = {"Authorization": f"Bearer {derived['accessToken']}"}
    assert evaluated(platform, headers).status_code == ADMITTED
    changed = platform.operator.patch(path, json={"allowedCidrs": ["192.0.2.0/24"]})
    assert changed.status_code == 200, changed.text
    until(lambda: evaluated(platform, headers).status_code == 403)


class Holder:
    """A program whose tokens are bound to its key."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.key = ECKey.generate_key("P-256")

    def prove(self, method: str, path: str, token: str | None = None) -> str:
        claims: dict[str, object] = {
            "jti": secrets.token_hex(8),
            "htm": method,
            "htu": self.platform.url + path.partition("?")[0],
            "iat": int(time.time()),
        }
        if token is not None:
            claims["ath"] = urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode()
        header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": self.key.as_dict(private=False)}
        return jws.serialize_compact(header, dumps(claims), self.key)


def test_a_bound_token_needs_a_proof_of_its_key_each_time(platform: Platform) -> None:
    holder = Holder(platform)
    proof = holder.prove("POST", "/oauth/token")
    answer = client_token(platform, make_client(platform), "operator", DPoP=proof)
    assert answer["token_type"] == "DPoP"
    token = answer["access_token"]
    proof = holder.prove("POST", EVALUATION, token)
    bound = {"Authorization": f"DPoP {token}", "DPoP": proof}
    assert evaluated(platform, bound).status_code == ADMITTED
    replayed = evaluated(platform, bound)
    assert (replayed.status_code, replayed.json()["code"]) == (401, "dpop_proof_invalid")
    assert evaluated(platform, {"Authorization": f"Bearer {token}"}).status_code == 401
    stolen = Holder(platform).prove("POST", EVALUATION, token)
    assert evaluated(platform, {"Authorization": f"DPoP {token}", "DPoP": stolen}).status_code == 401


def test_discovery_names_the_address_that_it_was_found_at(platform: Platform) -> None:
    for name in ("openid-configuration", "oauth-authorization-server"):
        answer = httpx.get(f"{platform.url}/.well-known/{name}", headers={"Origin": "https://app.example"})
        assert answer.json()["issuer"] == platform.url
        assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("form", ["", "grant_type=nothing", "grant_type=a&grant_type=b"])
def test_oauth_errors_reach_the_client_as_oauth_errors(platform: Platform, form: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = httpx.post(f"{platform.url}/oauth/token", content=form, headers=headers)
    assert answer.status_code in {400, 401}
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    assert set(answer.json()) <= {"error", "error_description"}
    assert answer.headers["cache-control"] == "no-store"
