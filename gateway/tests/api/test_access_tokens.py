"""Access tokens at the door."""

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest
from gateway.tests.factories import (
    CLIENT,
    GRANT,
    ISSUER,
    ORGANIZATION,
    OTHER_ORGANIZATION,
    RSA,
    USER,
    TokenIssuer,
)
from joserfc.jwk import ECKey

from undercroft.shared.auth import Principal, PrincipalKeys, PrincipalVerifier
from undercroft.shared.ids import new_uuid7
from undercroft.shared.testing import principal_keys
from undercroft.shared.tokens import mint_token

from .conftest import Gateway, StartGateway, freeze_limits
from .fakes import refusal

PATH = "/v1/flags"
CHALLENGE = 'Bearer realm="undercroft"'


def bearer(token: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", **headers}


def outcome(answer: httpx.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.json()["code"], answer.headers.get("www-authenticate", "")


def principal_behind(gateway: Gateway) -> Principal:
    header = gateway.flags.header("undercroft-principal")
    return PrincipalVerifier("flags", PrincipalKeys(principal_keys("flags"))).verify(header or "")


async def until_refused(gateway: Gateway, headers: dict[str, str]) -> httpx.Response:
    """Call until the door is closed, for a second at most."""
    async with asyncio.timeout(1):
        while True:
            answer = await gateway.client.get(PATH, headers=headers)
            if answer.status_code != httpx.codes.OK:
                return answer
            await asyncio.sleep(0.01)


async def test_a_token_opens_and_its_bearer_is_passed_on(gateway: Gateway):
    answer = await gateway.client.get(PATH, headers=bearer(gateway.identity.issuer.token()))
    assert answer.status_code == 200
    principal = principal_behind(gateway)
    assert (principal.kind, principal.subject, principal.grant_id) == ("user", USER, GRANT)
    assert principal.organization_id == ORGANIZATION.uuid
    assert principal.scopes == {"account", "flags:evaluate", "identity:read"}
    assert gateway.flags.header("authorization") is None


@pytest.mark.parametrize(
    "make",
    [
        lambda issuer: issuer.token(exp=int(time.time()) - 1),
        lambda issuer: issuer.token(iss="https://evil.example"),
        lambda issuer: issuer.token(aud="https://other.example"),
        lambda issuer: issuer.token({"typ": "JWT"}),
        lambda issuer: issuer.token({"kid": "unknown"}),
        lambda issuer: issuer.token(key=ECKey.generate_key("P-256")),
        lambda issuer: issuer.token(sub="usr_unknown"),
        lambda issuer: issuer.token() + "x",
        lambda _: "eyJhbGciOiJub25lIn0.e30.e30",
    ],
    ids=["expired", "issuer", "audience", "type", "kid", "signature", "subject", "changed", "none"],
)
async def test_a_token_that_proves_nothing_is_invalid(gateway: Gateway, make: Callable[[TokenIssuer], str]):
    answer = await gateway.client.get(PATH, headers=bearer(make(gateway.identity.issuer)))
    assert outcome(answer) == (401, "credentials_invalid", f'{CHALLENGE}, error="invalid_token"')
    assert gateway.flags.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer a.b.c"), ("Authorization", "Bearer a.b.c")],
        [("Authorization", "Bearer a.b.c"), ("X-API-Key", "uc_live_x")],
        [("Authorization", "DPoP a.b.c"), ("X-API-Key", "a.b.c")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Bearer a.b.c d.e.f")],
    ],
    ids=["twice", "two ways", "two ways, bound", "empty", "two tokens"],
)
async def test_credentials_with_two_readings_are_malformed(gateway: Gateway, headers: list[tuple[str, str]]):
    answer = await gateway.client.get(PATH, headers=headers)
    assert outcome(answer) == (400, "malformed_request", f'{CHALLENGE}, error="invalid_request"')


async def test_a_token_in_the_query_or_in_a_cookie_is_none(gateway: Gateway):
    token = gateway.identity.issuer.token()
    answer = await gateway.client.get(
        f"{PATH}?access_token={token}", headers={"Cookie": f"access_token={token}"}
    )
    assert outcome(answer) == (401, "credentials_missing", CHALLENGE)


async def test_a_token_is_no_key(gateway: Gateway):
    answer = await gateway.client.get(PATH, headers={"X-API-Key": gateway.identity.issuer.token()})
    assert outcome(answer)[:2] == (401, "credentials_invalid")


async def test_a_scope_that_the_role_does_not_allow_is_lacking(gateway: Gateway):
    gateway.identity.access[USER, str(ORGANIZATION)] = gateway.identity.allow("identity:read")
    headers = bearer(gateway.identity.issuer.token(scope="flags:evaluate identity:read"))
    answer = await gateway.client.post("/ofrep/v1/evaluate/flags", headers=headers, json={})
    challenge = f'{CHALLENGE}, error="insufficient_scope", scope="flags:evaluate"'
    assert outcome(answer) == (403, "insufficient_scope", challenge)


async def test_the_header_chooses_the_organization(gateway: Gateway):
    identity, token = gateway.identity, gateway.identity.issuer.token()
    other = str(OTHER_ORGANIZATION)
    headers = bearer(token, **{"X-Organization": other})
    answer = await gateway.client.get(PATH, headers=headers)
    assert outcome(answer) == (404, "organization_not_found", "")
    identity.access[USER, other] = identity.allow("flags:evaluate", organizationId=other)
    identity.publish("member.added", USER)
    await asyncio.sleep(0.1)
    assert (await gateway.client.get(PATH, headers=headers)).status_code == 200
    assert principal_behind(gateway).organization_id == OTHER_ORGANIZATION.uuid
    assert gateway.flags.header("x-organization") is None
    assert (await gateway.client.get(PATH, headers=bearer(token))).status_code == 200
    assert principal_behind(gateway).organization_id == ORGANIZATION.uuid


@pytest.mark.parametrize("organization", [b"", b"acme", b"org_x", USER.encode(), "é".encode()])
async def test_what_names_no_organization_is_malformed(gateway: Gateway, organization: bytes):
    token = gateway.identity.issuer.token()
    headers = [(b"Authorization", f"Bearer {token}".encode()), (b"X-Organization", organization)]
    answer = await gateway.client.get(PATH, headers=headers)
    assert outcome(answer)[:2] == (400, "malformed_request")


async def test_the_header_does_not_move_a_key(gateway: Gateway):
    key = gateway.identity.issue("flags:read")
    own = await gateway.client.get(PATH, headers=bearer(key, **{"X-Organization": str(ORGANIZATION)}))
    other = await gateway.client.get(PATH, headers=bearer(key, **{"X-Organization": str(OTHER_ORGANIZATION)}))
    assert own.status_code == 200
    assert outcome(other)[:2] == (404, "organization_not_found")


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("grant.revoked", GRANT),
        ("user.disabled", USER),
        ("member.removed", USER),
        ("access_token.revoked", "tok_1"),
        ("oauth_client.deleted", CLIENT),
        ("organization.deleted", str(ORGANIZATION)),
    ],
)
async def test_what_was_revoked_is_refused_within_a_second(gateway: Gateway, kind: str, subject: str):
    headers = bearer(gateway.identity.issuer.token(jti="tok_1", client_id=CLIENT))
    for _ in range(3):
        assert (await gateway.client.get(PATH, headers=headers)).status_code == 200
    gateway.identity.access.clear()
    gateway.identity.publish(kind, subject)
    answer = await until_refused(gateway, headers)
    assert outcome(answer)[:2] == (401, "credentials_invalid")


async def test_identity_is_asked_once(gateway: Gateway):
    headers = bearer(gateway.identity.issuer.token())
    await asyncio.gather(*(gateway.client.get(PATH, headers=headers) for _ in range(20)))
    assert len(gateway.identity.questions) == 1


async def test_a_new_signing_key_is_known_before_it_signs(gateway: Gateway):
    identity = gateway.identity
    assert (await gateway.client.get(PATH, headers=bearer(identity.issuer.token()))).status_code == 200
    old = identity.issuer.token()
    identity.issuer.rotate(RSA, "RS256")
    identity.publish("signing_key.rotated", identity.issuer.kid)
    await asyncio.sleep(0.1)
    fetches = identity.key_set_fetches
    for token in (identity.issuer.token(), old):
        assert (await gateway.client.get(PATH, headers=bearer(token))).status_code == 200
    assert identity.key_set_fetches == fetches


async def test_a_withdrawn_signing_key_ends_its_tokens_within_a_second(gateway: Gateway):
    identity = gateway.identity
    headers, broken = bearer(identity.issuer.token()), identity.issuer.kid
    assert (await gateway.client.get(PATH, headers=headers)).status_code == 200
    identity.issuer.rotate()
    del identity.issuer.keys[broken]
    identity.publish("signing_key.rotated", identity.issuer.kid)
    assert outcome(await until_refused(gateway, headers))[:2] == (401, "credentials_invalid")


async def test_while_identity_is_away_known_tokens_work_and_unknown_ones_wait(gateway: Gateway):
    identity = gateway.identity
    known = bearer(identity.issuer.token())
    await gateway.client.get(PATH, headers=known)
    identity.is_away = True
    assert (await gateway.client.get(PATH, headers=known)).status_code == 200
    answer = await gateway.client.get(PATH, headers=bearer(identity.issuer.token()))
    assert outcome(answer)[:2] == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_an_identity_that_is_slow_is_not_waited_for(start_gateway: StartGateway):
    async with start_gateway(credential_wait_seconds=0.05) as gateway:
        gateway.identity.answer_slowly.clear()
        answer = await gateway.client.get(PATH, headers=bearer(gateway.identity.issuer.token()))
        gateway.identity.answer_slowly.set()
        assert outcome(answer)[:2] == (503, "unavailable")


async def test_guessing_is_slow_and_an_expired_token_is_no_guess(gateway: Gateway):
    freeze_limits(gateway)
    issuer = gateway.identity.issuer
    expired = bearer(issuer.token(exp=1))
    for _ in range(70):
        assert (await gateway.client.get(PATH, headers=expired)).status_code == 401
    forger = ECKey.generate_key("P-256")
    for _ in range(60):
        assert (await gateway.client.get(PATH, headers=bearer(issuer.token(key=forger)))).status_code == 401
    answer = await gateway.client.get(PATH, headers=bearer(issuer.token()))
    assert outcome(answer)[:2] == (429, "rate_limited")


async def test_issuer_and_audiences_are_settings(start_gateway: StartGateway):
    api = "https://api.example"
    async with start_gateway(issuer="https://id.example", resources=[api]) as gateway:
        issuer = gateway.identity.issuer
        mine = bearer(issuer.token(iss="https://id.example", aud=api))
        default = bearer(issuer.token(iss="https://id.example", aud="https://id.example"))
        foreign = bearer(issuer.token(iss=ISSUER, aud=ISSUER))
        statuses = [(await gateway.client.get(PATH, headers=each)).status_code for each in (mine, default)]
        assert statuses == [200, 200]
        assert (await gateway.client.get(PATH, headers=foreign)).status_code == 401


async def test_an_identity_that_answers_nonsense_admits_nobody(gateway: Gateway):
    identity = gateway.identity
    identity.access[USER, str(ORGANIZATION)] = {"kind": "user"}
    answer = await gateway.client.get(PATH, headers=bearer(identity.issuer.token()))
    assert outcome(answer)[:2] == (503, "unavailable")


async def test_an_identity_that_knows_no_such_question_admits_nobody(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.tests.api.fakes.refusal", lambda _: refusal("not_found"))
    identity = gateway.identity
    identity.access.clear()
    unknown_key = mint_token("live", new_uuid7()).text
    for credential in (identity.issuer.token(), unknown_key):
        answer = await gateway.client.get(PATH, headers=bearer(credential))
        assert outcome(answer)[:2] == (503, "unavailable")
