"""Fixtures of what is known of access tokens; tests of other credentials bring their own."""

import pytest
from gateway.tests.factories import (
    ISSUER,
    Nobody,
    TokenIssuer,
    no_proofs,
)
from gateway.tests.token_identity import AUDIENCE, Clock, Identity

from undercroft.gateway.auth.authenticator import Authenticator
from undercroft.gateway.auth.key_set import SigningKeys
from undercroft.gateway.auth.memory import Retention
from undercroft.gateway.auth.resolving import TokenResolver
from undercroft.gateway.auth.tokens import TokenVerifier


@pytest.fixture
def issuer() -> TokenIssuer:
    return TokenIssuer()


@pytest.fixture
def identity(issuer: TokenIssuer) -> Identity:
    return Identity(issuer)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authenticator(identity: Identity, clock: Clock) -> Authenticator:
    keys = SigningKeys(identity, on_withdrawn=lambda _: None, clock=clock)
    verifier = TokenVerifier(keys, issuer=ISSUER, audiences=[ISSUER, AUDIENCE], clock=clock)
    return Authenticator(
        keys=Nobody(),
        tokens=TokenResolver(verifier, identity, clock=clock),
        streams=Nobody(),
        proofs=no_proofs(),
        retention=Retention(size=100, fresh_seconds=60, stale_seconds=600),
        clock=clock,
    )
