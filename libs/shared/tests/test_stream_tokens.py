import pytest
from joserfc import jws
from joserfc.jwk import OctKey
from pydantic import SecretStr

from undercroft.shared.auth import PRINCIPAL_HEADER, Principal, PrincipalKeys, PrincipalVerifier
from undercroft.shared.errors import UnauthenticatedError
from undercroft.shared.jose import TokenInvalidError
from undercroft.shared.serialization import dumps
from undercroft.shared.settings import derive_key
from undercroft.shared.stream_tokens import StreamClaims, StreamTokenReader, StreamTokenSigner
from undercroft.shared.testing import principal_headers, principal_keys

NOW = 1_700_000_000
CLAIMS = StreamClaims(
    subject="key_01h455vb4pex5vsknk084sn02q",
    environment="production",
    organization="org_01h455vb4pex5vsknk084sn02q",
    grant_id=None,
    issued_at=NOW,
    expires_at=NOW + 3_600,
)
FLAGS_KEYS = PrincipalKeys(principal_keys("flags"))
READER = StreamTokenReader("flags", PrincipalKeys(principal_keys("gateway")))
PAIR_KEY = FLAGS_KEYS.get("flags", "gateway")


def own_key() -> OctKey:
    assert PAIR_KEY is not None
    return OctKey.import_key(derive_key(SecretStr(str(PAIR_KEY.as_dict(private=True)["k"])), "stream tokens"))


def sign(*, media_type: str = "stream+jwt", key: OctKey | None = None, **claims: object) -> str:
    known = {
        "iss": "flags",
        "aud": "gateway",
        "sub": CLAIMS.subject,
        "env": "production",
        "iat": NOW,
        "exp": NOW + 60,
        **claims,
    }
    return jws.serialize_compact({"alg": "HS256", "typ": media_type}, dumps(known), key or own_key())


def test_the_gateway_reads_what_a_service_signed():
    token = StreamTokenSigner("flags", FLAGS_KEYS).sign(CLAIMS)
    assert READER.read(token, now=NOW) == CLAIMS


def test_the_same_claims_give_the_same_token():
    signer = StreamTokenSigner("flags", FLAGS_KEYS)
    assert signer.sign(CLAIMS) == signer.sign(CLAIMS)


def test_an_expired_token_is_still_read():
    token = StreamTokenSigner("flags", FLAGS_KEYS).sign(CLAIMS)
    assert READER.read(token, now=NOW + 10_000).expires_at == NOW + 3_600


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        "a.b.c",
        "x" * 3_000,
        sign(media_type="at+jwt"),
        sign(key=PAIR_KEY),
        sign(iss="identity"),
        sign(aud="flags"),
        sign(sub=7),
        sign(env=None),
        sign(exp="soon"),
        sign(exp=NOW + 100_000),
        sign(iat=NOW + 100, exp=NOW + 200),
        jws.serialize_compact({"alg": "HS256", "typ": "stream+jwt"}, b"[]", own_key()),
        jws.serialize_compact({"alg": "HS256", "typ": "stream+jwt"}, b"{", own_key()),
    ],
    ids=[
        "empty",
        "no token",
        "no JSON",
        "too long",
        "another type",
        "the key of principals",
        "another issuer",
        "another audience",
        "no subject",
        "no environment",
        "no number",
        "too long a life",
        "of the future",
        "no object",
        "broken",
    ],
)
def test_what_is_no_stream_token_is_refused(token: str):
    with pytest.raises(TokenInvalidError):
        READER.read(token, now=NOW)


def test_a_changed_token_is_refused():
    head, payload, signature = StreamTokenSigner("flags", FLAGS_KEYS).sign(CLAIMS).split(".")
    other = StreamTokenSigner("flags", FLAGS_KEYS).sign(
        StreamClaims(
            subject=CLAIMS.subject,
            environment="staging",
            organization=None,
            grant_id=None,
            issued_at=NOW,
            expires_at=NOW + 60,
        )
    )
    with pytest.raises(TokenInvalidError, match="genuine"):
        READER.read(f"{head}.{other.split('.')[1]}.{signature}", now=NOW)
    assert payload


def test_a_stream_token_is_no_principal_and_a_principal_no_stream_token():
    token = StreamTokenSigner("flags", FLAGS_KEYS).sign(CLAIMS)
    verifier = PrincipalVerifier("gateway", PrincipalKeys(principal_keys("gateway")), clock=lambda: NOW)
    with pytest.raises(UnauthenticatedError):
        verifier.verify(token)
    principal = principal_headers(Principal("flags", "service"), audience="gateway", issuer="flags")
    with pytest.raises(TokenInvalidError):
        READER.read(principal[PRINCIPAL_HEADER], now=NOW)


def test_without_a_shared_key_nothing_is_signed_or_read():
    signer = StreamTokenSigner("flags", PrincipalKeys({}))
    assert not signer.can_sign
    with pytest.raises(LookupError, match=r"flags\|gateway"):
        signer.sign(CLAIMS)
    with pytest.raises(TokenInvalidError):
        StreamTokenReader("flags", PrincipalKeys({})).read(sign(), now=NOW)
