import asyncio
import time

import httpx
import pytest

from .conftest import Gateway, freeze_limits

PATH = "/v1/flags"


def outcome(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic dTpw"}], ids=["none", "not ours"])
async def test_without_credentials_the_challenge_has_no_error(gateway: Gateway, headers: dict[str, str]):
    answer = await gateway.client.get(PATH, headers=headers)
    assert outcome(answer) == (401, "credentials_missing")
    assert answer.headers["www-authenticate"] == 'Bearer realm="undercroft"'


@pytest.mark.parametrize("secret", ["x", "uc_live_wrong", "eyJhbGciOiJub25lIn0.e30."])
async def test_wrong_credentials_are_told_apart(gateway: Gateway, secret: str):
    answer = await gateway.client.get(PATH, headers={"Authorization": f"Bearer {secret}"})
    assert outcome(answer) == (401, "credentials_invalid")
    assert answer.headers["www-authenticate"] == 'Bearer realm="undercroft", error="invalid_token"'
    assert gateway.identity.verifications == 0


async def test_credentials_beyond_ascii_are_wrong(gateway: Gateway):
    answer = await gateway.client.get(PATH, headers={b"X-API-Key": "ké".encode()})
    assert outcome(answer) == (401, "credentials_invalid")


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER  {}"])
async def test_the_scheme_is_read_in_any_case(gateway: Gateway, form: str):
    key = gateway.identity.issue("flags:read")
    answer = await gateway.client.get(PATH, headers={"Authorization": form.format(key)})
    assert answer.status_code == 200


async def test_a_key_may_come_in_a_header_of_its_own(gateway: Gateway):
    key = gateway.identity.issue("flags:read")
    assert (await gateway.client.get(PATH, headers={"X-API-Key": key})).status_code == 200
    both = {"X-API-Key": key, "Authorization": f"Bearer {key}"}
    assert (await gateway.client.get(PATH, headers=both)).status_code == 200


async def test_two_keys_are_refused(gateway: Gateway):
    headers = {
        "X-API-Key": gateway.identity.issue("flags:read"),
        "Authorization": f"Bearer {gateway.identity.issue('flags:read')}",
    }
    assert outcome(await gateway.client.get(PATH, headers=headers)) == (400, "malformed_request")


async def test_a_scope_that_is_lacking_is_named(gateway: Gateway):
    key = gateway.identity.issue("flags:read")
    answer = await gateway.client.get("/ofrep/v1/configuration", headers={"X-API-Key": key})
    assert outcome(answer) == (403, "insufficient_scope")
    assert 'error="insufficient_scope", scope="flags:evaluate"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("scope", ["flags:evaluate", "operator"])
async def test_a_scope_that_is_held_opens(gateway: Gateway, scope: str):
    key = gateway.identity.issue(scope)
    answer = await gateway.client.post("/ofrep/v1/evaluate/flags", headers={"X-API-Key": key}, json={})
    assert answer.status_code == 200


async def test_an_expired_key_is_refused_though_it_is_remembered(gateway: Gateway):
    expires_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1.2))
    headers = {"X-API-Key": gateway.identity.issue("flags:read", expiresAt=expires_at)}
    assert (await gateway.client.get(PATH, headers=headers)).status_code == 200
    await asyncio.sleep(1.3)
    assert outcome(await gateway.client.get(PATH, headers=headers)) == (401, "credentials_invalid")


async def test_a_key_is_bound_to_its_networks(gateway: Gateway):
    headers = {"X-API-Key": gateway.identity.issue("flags:read", allowedCidrs=["192.0.2.0/24"])}
    assert outcome(await gateway.client.get(PATH, headers=headers)) == (403, "address_not_allowed")


async def test_a_revoked_key_stops_working_within_a_second(gateway: Gateway):
    key = gateway.identity.issue("flags:read")
    headers = {"X-API-Key": key}
    assert (await gateway.client.get(PATH, headers=headers)).status_code == 200
    gateway.identity.revoke(key)
    async with asyncio.timeout(1):
        while (await gateway.client.get(PATH, headers=headers)).status_code == httpx.codes.OK:  # noqa: ASYNC110  only asking tells
            await asyncio.sleep(0.01)
    answer = await gateway.client.get(PATH, headers=headers)
    assert outcome(answer) == (401, "credentials_invalid")


async def test_identity_is_asked_once(gateway: Gateway):
    headers = {"X-API-Key": gateway.identity.issue("flags:read")}
    await asyncio.gather(*(gateway.client.get(PATH, headers=headers) for _ in range(20)))
    assert gateway.identity.verifications == 1


async def test_while_identity_is_away_known_keys_work_and_unknown_ones_wait(gateway: Gateway):
    known = {"X-API-Key": gateway.identity.issue("flags:read")}
    await gateway.client.get(PATH, headers=known)
    gateway.identity.is_away = True
    assert (await gateway.client.get(PATH, headers=known)).status_code == 200
    unknown = {"X-API-Key": gateway.identity.issue("flags:read")}
    answer = await gateway.client.get(PATH, headers=unknown)
    assert outcome(answer) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_guessing_is_slow(gateway: Gateway):
    freeze_limits(gateway)
    for _ in range(60):
        key = gateway.identity.issue("flags:read")
        del gateway.identity.keys[key]
        assert outcome(await gateway.client.get(PATH, headers={"X-API-Key": key})) == (
            401,
            "credentials_invalid",
        )
    asked = gateway.identity.verifications
    answer = await gateway.client.get(PATH, headers={"X-API-Key": gateway.identity.issue("flags:read")})
    assert outcome(answer) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) >= 1
    assert gateway.identity.verifications == asked
