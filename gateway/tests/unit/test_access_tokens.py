"""Access tokens: what makes one genuine, and what it is worth."""

import time
from typing import Any

import pytest
from gateway.tests.factories import (
    CLIENT,
    GRANT,
    ISSUER,
    KEY,
    ORGANIZATION,
    OTHER_ORGANIZATION,
    RSA,
    USER,
    TokenIssuer,
)
from gateway.tests.token_identity import AUDIENCE, Clock, Identity, use
from joserfc.jwk import ECKey

from undercroft.gateway.auth.authenticator import Authenticator
from undercroft.gateway.auth.credentials import Presented
from undercroft.gateway.auth.identity_client import Access, AccessRequest
from undercroft.gateway.errors import (
    AddressNotAllowedError,
    CredentialsExpiredError,
    CredentialsInvalidError,
    MalformedRequestError,
    OrganizationNotFoundError,
    TokenBindingError,
)
from undercroft.shared.errors import UnavailableError


async def test_a_genuine_token_is_its_subject(authenticator: Authenticator, issuer: TokenIssuer):
    credential = await use(authenticator, issuer.token())
    principal = credential.principal
    assert (principal.kind, principal.subject, principal.grant_id) == ("user", USER, GRANT)
    assert principal.organization_id == ORGANIZATION.uuid
    assert principal.scopes == {"account", "flags:evaluate", "identity:read"}


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({}, {"aud": ISSUER}),
        ({}, {"aud": ["https://other.example", AUDIENCE]}),
        ({"typ": "application/at+jwt"}, {}),
        ({"jku": "https://evil.example/keys"}, {}),
        ({}, {"nbf": int(time.time())}),
        ({}, {"unknown": {"a": 1}}),
        ({}, {"iat": int(time.time()) + 4}),
    ],
    ids=str,
)
async def test_what_means_the_same_is_accepted(
    authenticator: Authenticator, issuer: TokenIssuer, header: dict[str, object], claims: dict[str, object]
):
    assert (await use(authenticator, issuer.token(header, **claims))).principal.subject == USER


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (RSA, "PS256"), (ECKey.generate_key("P-384"), "ES384")],
    ids=["RS256", "PS256", "ES384"],
)
async def test_every_published_algorithm_is_understood(
    authenticator: Authenticator, issuer: TokenIssuer, key: Any, algorithm: str
):
    issuer.rotate(key, algorithm)
    assert (await use(authenticator, issuer.token())).principal.subject == USER


NOW = int(time.time())


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"typ": "JWT"}, {}),
        ({"typ": None}, {}),
        ({"kid": None}, {}),
        ({"kid": ""}, {}),
        ({"kid": 7}, {}),
        ({"kid": "unknown"}, {}),
        ({"crit": ["kid"]}, {}),
        ({"jwk": ECKey.generate_key("P-256").as_dict(private=False), "kid": "mine"}, {}),
        ({}, {"iss": f"{ISSUER}/"}),
        ({}, {"iss": "http://identity:8000"}),
        ({}, {"iss": None}),
        ({}, {"aud": "https://other.example"}),
        ({}, {"aud": []}),
        ({}, {"aud": [1]}),
        ({}, {"aud": {ISSUER: 1}}),
        ({}, {"aud": None}),
        ({}, {"exp": None}),
        ({}, {"exp": "tomorrow"}),
        ({}, {"exp": True}),
        ({}, {"iat": None}),
        ({}, {"iat": NOW + 86_400}),
        ({}, {"nbf": NOW + 86_400}),
        ({}, {"nbf": "now"}),
        ({}, {"sub": None}),
        ({}, {"sub": 7}),
        ({}, {"client_id": None}),
        ({}, {"jti": None}),
        ({}, {"scope": ["account"]}),
        ({}, {"sid": 7}),
        ({}, {"org": 7}),
        ({}, {"cnf": "bound"}),
        ({}, {"cnf": {"x5t#S256": "certificate"}}),
    ],
    ids=str,
)
async def test_any_defect_makes_a_token_worthless(
    authenticator: Authenticator,
    identity: Identity,
    header: dict[str, object],
    claims: dict[str, object],
):
    await use(authenticator, identity.issuer.token())
    with pytest.raises(CredentialsInvalidError) as caught:
        await use(authenticator, identity.issuer.token(header, **claims))
    assert (caught.value.status, caught.value.code) == (401, "credentials_invalid")
    assert len(identity.questions) == 1


@pytest.mark.parametrize("token", ["", "x", "a.b", "a.b.c.d", "a.b.c=", "a.b. c", "a." + "b" * 9_000 + ".c"])
async def test_what_is_no_token_asks_nobody(authenticator: Authenticator, identity: Identity, token: str):
    with pytest.raises(CredentialsInvalidError):
        await use(authenticator, token)
    assert (identity.fetches, identity.questions) == (0, [])


async def test_another_keys_signature_is_worthless(authenticator: Authenticator, issuer: TokenIssuer):
    with pytest.raises(CredentialsInvalidError):
        await use(authenticator, issuer.token(key=ECKey.generate_key("P-256")))


async def test_a_key_signs_with_its_own_algorithm_only(authenticator: Authenticator, issuer: TokenIssuer):
    issuer.rotate(RSA, "RS256")
    with pytest.raises(CredentialsInvalidError):
        await use(authenticator, issuer.token({"alg": "PS256"}))


async def test_an_expired_token_is_no_guess_and_costs_no_question(
    authenticator: Authenticator, identity: Identity
):
    with pytest.raises(CredentialsExpiredError):
        await use(authenticator, identity.issuer.token(exp=NOW - 1, kid="unknown"))
    assert (identity.fetches, identity.questions) == (0, [])


async def test_no_token_outlives_its_expiry_in_the_memory(
    authenticator: Authenticator, issuer: TokenIssuer, clock: Clock
):
    token = issuer.token(exp=int(clock.now) + 10)
    credential = await use(authenticator, token)
    clock.now += 11
    assert authenticator.recall(Presented(token)) is credential
    with pytest.raises(CredentialsExpiredError):
        authenticator.check(credential, Presented(token), "192.0.2.1")


async def test_identity_is_asked_once_for_a_token(authenticator: Authenticator, identity: Identity):
    token = identity.issuer.token(jti="tok_1")
    for _ in range(3):
        await use(authenticator, token)
    (question,) = identity.questions
    assert question.model_dump(by_alias=True) == {
        "subject": USER,
        "tokenId": "tok_1",
        "grantId": GRANT,
        "organizationId": str(ORGANIZATION),
    }


async def test_a_person_acts_in_the_organization_that_the_header_names(
    authenticator: Authenticator, identity: Identity
):
    identity.answers[str(OTHER_ORGANIZATION)] = {"scopes": ["identity:read"]}
    token = identity.issuer.token()
    here = (await use(authenticator, token)).principal
    there = (await use(authenticator, token, str(OTHER_ORGANIZATION))).principal
    assert (here.organization_id, there.organization_id) == (ORGANIZATION.uuid, OTHER_ORGANIZATION.uuid)
    assert there.scopes == {"account", "identity:read"}
    assert (await use(authenticator, token)).principal == here
    assert len(identity.questions) == 2


async def test_an_organization_of_others_is_not_found(authenticator: Authenticator, identity: Identity):
    token = identity.issuer.token()
    for _ in range(3):
        with pytest.raises(OrganizationNotFoundError) as caught:
            await use(authenticator, token, str(OTHER_ORGANIZATION))
    assert (caught.value.status, caught.value.code) == (404, "organization_not_found")
    assert len(identity.questions) == 1


@pytest.mark.parametrize("organization", ["", "acme", USER, f"{ORGANIZATION}, {OTHER_ORGANIZATION}"])
async def test_what_names_no_organization_is_malformed(
    authenticator: Authenticator, identity: Identity, organization: str
):
    with pytest.raises(MalformedRequestError):
        await use(authenticator, identity.issuer.token(), organization)
    assert identity.questions == []


async def test_whoever_left_the_organization_of_their_token_is_in_none(
    authenticator: Authenticator, identity: Identity
):
    identity.answers = {None: {"organizationId": str(OTHER_ORGANIZATION)}}
    principal = (await use(authenticator, identity.issuer.token())).principal
    assert (principal.organization_id, principal.scopes) == (None, frozenset({"account"}))


async def test_access_that_ended_between_two_questions_has_ended(
    authenticator: Authenticator, identity: Identity, monkeypatch: pytest.MonkeyPatch
):
    async def look_up(request: AccessRequest) -> Access | None:
        if request.organization_id is not None:
            raise OrganizationNotFoundError
        return None

    monkeypatch.setattr(identity, "look_up", look_up)
    with pytest.raises(CredentialsInvalidError):
        await use(authenticator, identity.issuer.token())


async def test_access_that_ended_meanwhile_has_ended(authenticator: Authenticator, identity: Identity):
    identity.answers = {}
    with pytest.raises(OrganizationNotFoundError):
        await use(authenticator, identity.issuer.token())
    identity.has_ended = True
    for _ in range(3):
        with pytest.raises(CredentialsInvalidError):
            await use(authenticator, identity.issuer.token(jti="1"))


async def test_a_person_without_organization_has_their_account(
    authenticator: Authenticator, identity: Identity
):
    identity.answers = {None: {"scopes": []}}
    principal = (await use(authenticator, identity.issuer.token(org=None))).principal
    assert (principal.organization_id, principal.scopes) == (None, frozenset({"account"}))


@pytest.mark.parametrize(
    ("granted", "allowed", "scopes"),
    [
        ("account identity:read", "user", {"account"}),
        ("identity:read", "user identity:read flags:evaluate", {"identity:read"}),
        ("account flags:read", "client flags:read", {"flags:read"}),
        ("flags:read", "api_key flags:read flags:write", {"flags:read"}),
        ("flags:read", "operator operator", {"flags:read"}),
        ("operator flags:read", "operator operator", {"operator", "flags:read"}),
        ("operator", "user identity:read", set()),
        ("openid profile email offline_access", "user identity:read", set()),
        (None, "user identity:read", set()),
    ],
)
async def test_a_principal_has_what_was_granted_and_is_allowed_now(
    authenticator: Authenticator,
    identity: Identity,
    granted: str | None,
    allowed: str,
    scopes: set[str],
):
    kind, *held = allowed.split()
    subject = {"user": USER, "client": CLIENT}.get(kind, KEY)
    identity.answers[str(ORGANIZATION)] = {"kind": kind, "scopes": held}
    token = identity.issuer.token(sub=subject, scope=granted)
    principal = (await use(authenticator, token)).principal
    assert (principal.subject, str(principal.kind), set(principal.scopes)) == (subject, kind, scopes)


async def test_a_token_of_the_operators_client_acts_in_every_organization(
    authenticator: Authenticator, identity: Identity
):
    identity.answers[str(ORGANIZATION)] = {
        "kind": "client",
        "organizationId": None,
        "scopes": ["operator"],
    }
    token = identity.issuer.token(sub=CLIENT, org=None, sid=None, scope="operator")
    principal = (await use(authenticator, token, str(ORGANIZATION))).principal
    assert (principal.kind, principal.organization_id, principal.is_operator) == ("client", None, True)


@pytest.mark.parametrize(
    ("own", "now", "environment"),
    [("staging", None, "staging"), (None, "live", "live"), ("live", "live", "live"), (None, None, None)],
)
async def test_a_derived_token_is_bound_to_an_environment(
    authenticator: Authenticator,
    identity: Identity,
    own: str | None,
    now: str | None,
    environment: str | None,
):
    identity.answers[str(ORGANIZATION)] = {"kind": "api_key", "environment": now}
    token = identity.issuer.token(sub=KEY, env=own, sid=None)
    assert (await use(authenticator, token)).principal.environment == environment


async def test_a_derived_token_of_another_environment_is_worthless(
    authenticator: Authenticator, identity: Identity
):
    identity.answers[str(ORGANIZATION)] = {"kind": "api_key", "environment": "live"}
    with pytest.raises(CredentialsInvalidError):
        await use(authenticator, identity.issuer.token(sub=KEY, env="staging"))


async def test_a_derived_token_works_only_from_its_keys_networks(
    authenticator: Authenticator, identity: Identity
):
    identity.answers[str(ORGANIZATION)] = {"kind": "api_key", "allowedCidrs": ["192.0.2.0/24"]}
    token = identity.issuer.token(sub=KEY)
    credential = await use(authenticator, token)
    assert authenticator.check(credential, Presented(token), "192.0.2.1").subject == KEY
    with pytest.raises(AddressNotAllowedError):
        authenticator.check(credential, Presented(token), "198.51.100.1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"organizationId": str(OTHER_ORGANIZATION)},
        {"organizationId": None},
        {"kind": "service"},
        {"kind": "client"},
        {"allowedCidrs": ["everywhere"]},
    ],
    ids=str,
)
async def test_an_answer_that_makes_no_sense_admits_nobody(
    authenticator: Authenticator, identity: Identity, wrong: dict[str, object]
):
    identity.answers[str(ORGANIZATION)] = wrong
    with pytest.raises(UnavailableError):
        await use(authenticator, identity.issuer.token())


@pytest.mark.parametrize("is_bound", [True, False])
async def test_the_scheme_must_fit_the_token(
    authenticator: Authenticator, issuer: TokenIssuer, *, is_bound: bool
):
    token = issuer.token(cnf=None if is_bound else {"jkt": "thumbprint"})
    credential = await use(authenticator, token)
    with pytest.raises(TokenBindingError):
        authenticator.check(credential, Presented(token, is_bound=is_bound), "192.0.2.1")
