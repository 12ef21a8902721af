"""Access tokens after something happened: a change, a revocation, an identity that is away."""

import pytest
from gateway.tests.factories import (
    CLIENT,
    GRANT,
    KEY,
    ORGANIZATION,
    OTHER_ORGANIZATION,
    SCOPE,
    USER,
)
from gateway.tests.token_identity import Clock, Identity, happened, use

from undercroft.gateway.auth.authenticator import Authenticator
from undercroft.gateway.errors import (
    CredentialsInvalidError,
    OrganizationNotFoundError,
)
from undercroft.shared.errors import UnavailableError
from undercroft.shared.ids import TypeId


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("user.updated", USER),
        ("user.disabled", USER),
        ("user.deleted", USER),
        ("member.removed", USER),
        ("member.role_changed", USER),
        ("grant.revoked", GRANT),
        ("oauth_client.updated", CLIENT),
        ("oauth_client.deleted", CLIENT),
        ("access_token.revoked", "tok_1"),
        ("organization.updated", str(ORGANIZATION)),
        ("organization.deleted", str(ORGANIZATION)),
    ],
)
async def test_a_change_is_known_at_once(
    authenticator: Authenticator, identity: Identity, kind: str, subject: str
):
    token = identity.issuer.token(client_id=CLIENT, jti="tok_1")
    await use(authenticator, token)
    identity.has_ended = True
    authenticator.handle_event(happened(kind, subject))
    with pytest.raises(CredentialsInvalidError):
        await use(authenticator, token)


async def test_a_revoked_key_ends_the_tokens_derived_from_it(
    authenticator: Authenticator, identity: Identity
):
    identity.answers[str(ORGANIZATION)] = {"kind": "api_key"}
    token = identity.issuer.token(sub=KEY, sid=None, client_id=KEY)
    await use(authenticator, token)
    identity.has_ended = True
    authenticator.handle_event(happened("api_key.revoked", KEY))
    with pytest.raises(CredentialsInvalidError):
        await use(authenticator, token)


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("user.updated", CLIENT),
        ("grant.revoked", "grt_other"),
        ("organization.deleted", str(OTHER_ORGANIZATION)),
        ("session.ended", USER),
    ],
)
async def test_what_concerns_others_changes_nothing(
    authenticator: Authenticator, identity: Identity, kind: str, subject: str
):
    token = identity.issuer.token()
    await use(authenticator, token)
    authenticator.handle_event(happened(kind, subject))
    await use(authenticator, token)
    assert len(identity.questions) == 1


async def test_a_new_member_is_let_in_at_once(authenticator: Authenticator, identity: Identity):
    token = identity.issuer.token()
    with pytest.raises(OrganizationNotFoundError):
        await use(authenticator, token, str(OTHER_ORGANIZATION))
    identity.answers[str(OTHER_ORGANIZATION)] = {}
    authenticator.handle_event(happened("member.added", USER))
    assert (await use(authenticator, token, str(OTHER_ORGANIZATION))).principal.subject == USER


async def test_a_known_token_works_while_identity_is_away(
    authenticator: Authenticator, identity: Identity, clock: Clock
):
    token = identity.issuer.token(scope=SCOPE)
    await use(authenticator, token)
    clock.now += 61
    identity.failure = UnavailableError("away")
    for _ in range(3):
        assert (await use(authenticator, token)).principal.subject == USER
    assert len(identity.questions) == 2


async def test_a_genuine_token_is_not_served_from_its_own_claims_while_identity_is_away(
    authenticator: Authenticator, identity: Identity
):
    identity.failure = UnavailableError("away")
    with pytest.raises(UnavailableError) as caught:
        await use(authenticator, identity.issuer.token())
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "1")


async def test_a_subject_that_is_no_identifier_admits_nobody(
    authenticator: Authenticator, identity: Identity
):
    with pytest.raises(UnavailableError):
        await use(authenticator, identity.issuer.token(sub=str(TypeId.new("usr")) + "x"))
