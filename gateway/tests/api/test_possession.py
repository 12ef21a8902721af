"""Tokens that are bound to a key (RFC 9449 section 7)."""

import time

import httpx
import pytest
from gateway.tests.factories import ISSUER, Holder
from joserfc.jwk import ECKey

from .conftest import Gateway, StartGateway

PATH = "/v1/flags"
ALGORITHMS = 'algs="ES256 ES384 ES512 Ed25519 PS256 PS384 PS512 RS256 RS384 RS512"'


@pytest.fixture
def holder() -> Holder:
    return Holder()


@pytest.fixture
def token(gateway: Gateway, holder: Holder) -> str:
    return gateway.identity.issuer.token(cnf=holder.confirmation)


async def call(
    gateway: Gateway, token: str, *proofs: str, scheme: str = "DPoP", path: str = PATH
) -> httpx.Response:
    headers = [("Authorization", f"{scheme} {token}"), *(("DPoP", proof) for proof in proofs)]
    return await gateway.client.get(path, headers=headers)


def outcome(answer: httpx.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.json()["code"], answer.headers["www-authenticate"]


@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "DPOP"])
async def test_a_bound_token_opens_with_a_proof(gateway: Gateway, token: str, holder: Holder, scheme: str):
    answer = await call(gateway, token, holder.prove(token), scheme=scheme)
    assert answer.status_code == 200
    assert gateway.flags.header("dpop") is None
    assert gateway.flags.header("authorization") is None


async def test_the_query_is_no_part_of_what_is_proved(gateway: Gateway, token: str, holder: Holder):
    answer = await call(gateway, token, holder.prove(token), path=f"{PATH}?limit=1")
    assert answer.status_code == 200


async def test_every_call_needs_a_proof_of_its_own(gateway: Gateway, token: str, holder: Holder):
    proof = holder.prove(token)
    assert (await call(gateway, token, proof)).status_code == 200
    again = await call(gateway, token, proof)
    assert outcome(again) == (
        401,
        "dpop_proof_invalid",
        f'DPoP realm="undercroft", error="invalid_dpop_proof", {ALGORITHMS}',
    )
    assert (await call(gateway, token, holder.prove(token))).status_code == 200


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"typ": "JWT"}, {}),
        ({"jwk": None}, {}),
        ({"jwk": ECKey.generate_key("P-256").as_dict(private=False)}, {}),
        ({}, {"htm": "POST"}),
        ({}, {"htu": f"{ISSUER}/v1/environments"}),
        ({}, {"htu": f"http://gateway{PATH}"}),
        ({}, {"iat": int(time.time()) - 120}),
        ({}, {"iat": int(time.time()) + 86_400}),
        ({}, {"jti": None}),
        ({}, {"ath": None}),
        ({}, {"ath": "another"}),
    ],
    ids=str,
)
async def test_a_defect_makes_a_proof_worthless(
    gateway: Gateway, token: str, holder: Holder, header: dict[str, object], claims: dict[str, object]
):
    answer = await call(gateway, token, holder.prove(token, header=header, **claims))
    assert outcome(answer)[:2] == (401, "dpop_proof_invalid")
    assert gateway.flags.requests == []


async def test_exactly_one_proof_is_sent(gateway: Gateway, token: str, holder: Holder):
    none = await call(gateway, token)
    two = await call(gateway, token, holder.prove(token), holder.prove(token))
    assert outcome(none)[:2] == outcome(two)[:2] == (401, "dpop_proof_invalid")


async def test_a_proof_of_another_key_opens_nothing(gateway: Gateway, token: str):
    answer = await call(gateway, token, Holder().prove(token))
    assert outcome(answer) == (
        401,
        "credentials_invalid",
        f'DPoP realm="undercroft", error="invalid_token", {ALGORITHMS}',
    )


async def test_a_bound_token_is_no_bearer_token(gateway: Gateway, token: str, holder: Holder):
    answer = await call(gateway, token, holder.prove(token), scheme="Bearer")
    assert outcome(answer) == (
        401,
        "credentials_invalid",
        f'Bearer realm="undercroft", error="invalid_token", DPoP {ALGORITHMS}',
    )


async def test_an_unbound_token_needs_no_proof_and_takes_none(gateway: Gateway, holder: Holder):
    token = gateway.identity.issuer.token()
    answer = await call(gateway, token, holder.prove(token))
    assert outcome(answer)[:2] == (401, "credentials_invalid")
    ignored = await call(gateway, token, "nonsense", scheme="Bearer")
    assert ignored.status_code == 200


async def test_a_key_is_never_bound(gateway: Gateway, holder: Holder):
    key = gateway.identity.issue("flags:read")
    answer = await call(gateway, key, holder.prove(key))
    assert outcome(answer)[:2] == (401, "credentials_invalid")


async def test_a_scope_that_is_lacking_is_told_in_the_scheme(gateway: Gateway, holder: Holder):
    token = gateway.identity.issuer.token(cnf=holder.confirmation, scope="identity:read")
    path = "/ofrep/v1/configuration"
    answer = await call(gateway, token, holder.prove(token, htu=ISSUER + path), path=path)
    assert outcome(answer) == (
        403,
        "insufficient_scope",
        f'DPoP realm="undercroft", error="insufficient_scope", scope="flags:evaluate", {ALGORITHMS}',
    )


async def test_proofs_are_made_for_the_public_address(start_gateway: StartGateway, holder: Holder):
    settings = {"issuer": "https://id.example", "resources": ["https://api.example/", "urn:example:api"]}
    async with start_gateway(**settings) as gateway:
        token = gateway.identity.issuer.token(
            iss="https://id.example", aud="https://id.example", cnf=holder.confirmation
        )
        for address in ("https://id.example", "https://API.example:443"):
            answer = await call(gateway, token, holder.prove(token, htu=address + PATH))
            assert answer.status_code == 200
        assert (await call(gateway, token, holder.prove(token))).status_code == 401
