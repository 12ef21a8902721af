import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from undercroft.shared.jose import (
    ASYMMETRIC_ALGORITHMS,
    SignedToken,
    TokenInvalidError,
    import_public_key,
    read_token,
)

EC = ECKey.generate_key("P-256")
KEYS: dict[str, Any] = {
    "ES256": EC,
    "ES384": ECKey.generate_key("P-384"),
    "ES512": ECKey.generate_key("P-521"),
    "Ed25519": OKPKey.generate_key("Ed25519"),
    "RS256": RSAKey.generate_key(2048),
}
RSA = KEYS["RS256"]


def public(key: Any) -> dict[str, Any]:
    return dict(key.as_dict(private=False))


def sign(payload: bytes = b'{"a":1}', *, key: Any = EC, **header: object) -> str:
    full = {"alg": "ES256", "typ": "at+jwt", **header}
    registry = jws.JWSRegistry(algorithms=[str(full["alg"])], strict_check_header=False)
    return jws.serialize_compact(full, payload, key, registry=registry)


def read(text: str) -> SignedToken:
    return read_token(text, media_type="at+jwt", max_length=4_000)


@pytest.mark.parametrize("algorithm", ASYMMETRIC_ALGORITHMS)
def test_a_signed_token_is_read_and_verified(algorithm: str):
    key = KEYS.get(algorithm, RSA)
    token = read(sign(key=key, alg=algorithm))
    token.verify(import_public_key(public(key)))
    assert (token.algorithm, token.claims) == (algorithm, {"a": 1})


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt"])
def test_the_type_is_a_media_type(kind: str):
    assert read(sign(typ=kind)).claims == {"a": 1}


def test_unknown_header_parameters_are_ignored():
    read(sign(custom="1")).verify(import_public_key(public(EC)))


def encode(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def segment(depth: int) -> str:
    return urlsafe_b64encode(b"[" * depth).rstrip(b"=").decode()


GOOD = sign()
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a.b",
        f"{GOOD}.x",
        f"{HEADER}..{SIGNATURE}",
        f"{HEADER}.{PAYLOAD}.",
        f"{HEADER}.{PAYLOAD}.{SIGNATURE}=",
        f" {GOOD}",
        f"{GOOD}\n",
        f"{HEADER}.{encode([1])}.{SIGNATURE}",
        f"{HEADER}.{encode(1)}.{SIGNATURE}",
        f"{HEADER}.AAAA.{SIGNATURE}",
        f"{encode(['alg'])}.{PAYLOAD}.{SIGNATURE}",
        f"{encode('alg')}.{PAYLOAD}.{SIGNATURE}",
        f"{encode(5)}.{PAYLOAD}.{SIGNATURE}",
        f"{encode({'typ': 'at+jwt'})}.{PAYLOAD}.{SIGNATURE}",
        f"{encode({'typ': 'at+jwt', 'alg': 'none'})}.{PAYLOAD}.{SIGNATURE}",
        f"{encode({'typ': 'at+jwt', 'alg': 'HS256'})}.{PAYLOAD}.{SIGNATURE}",
        f"{encode({'typ': 'at+jwt', 'alg': 'ES256K'})}.{PAYLOAD}.{SIGNATURE}",
        f"{encode({'typ': 'at+jwt', 'alg': ['ES256']})}.{PAYLOAD}.{SIGNATURE}",
        f"{encode({'typ': 'at+jwt', 'alg': 'ES256', 'crit': ['exp'], 'exp': 1})}.{PAYLOAD}.{SIGNATURE}",
        f"{encode({'typ': 'at+jwt', 'alg': 'ES256', 'b64': False})}.{PAYLOAD}.{SIGNATURE}",
        f"{encode({'typ': 'at+jwt', 'alg': 'ES256', 'b64': True})}.{PAYLOAD}.{SIGNATURE}",
        f"{encode({'alg': 'ES256'})}.{PAYLOAD}.{SIGNATURE}",
        f"{encode({'alg': 'ES256', 'typ': 'JWT'})}.{PAYLOAD}.{SIGNATURE}",
        f"{encode({'alg': 'ES256', 'typ': 1})}.{PAYLOAD}.{SIGNATURE}",
        f"{segment(2_000)}.{PAYLOAD}.{SIGNATURE}",
        f"{HEADER}.{segment(2_000)}.{SIGNATURE}",
        f"{HEADER}.{'a' * 4_000}.{SIGNATURE}",
    ],
)
def test_what_is_no_such_token_is_refused(text: str):
    with pytest.raises(TokenInvalidError):
        read(text)


def hmac_with_public_key() -> str:
    """Sign as the classic confusion does: HS256, with the public key's PEM as the secret."""
    signed = f"{encode({'typ': 'at+jwt', 'alg': 'HS256'})}.{PAYLOAD}"
    digest = hmac.digest(RSA.as_pem(private=False), signed.encode(), hashlib.sha256)
    return f"{signed}.{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def test_a_public_key_is_no_shared_secret():
    with pytest.raises(TokenInvalidError):
        read(hmac_with_public_key())


@pytest.mark.parametrize(
    ("token", "key"),
    [
        (sign(), ECKey.generate_key("P-256")),
        (sign(), RSA),
        (sign(key=RSA, alg="RS256"), EC),
        (f"{HEADER}.{encode({'a': 2})}.{SIGNATURE}", EC),
        (f"{HEADER}.{PAYLOAD}.{'A' * len(SIGNATURE)}", EC),
        (f"{HEADER}.{PAYLOAD}.AAAA", EC),
        (f"{HEADER}.{PAYLOAD}.A", EC),
        (sign(key=KEYS["Ed25519"], alg="Ed25519"), OKPKey.generate_key("X25519")),
    ],
    ids=["other key", "other type", "other way", "changed", "zeros", "short", "no base64", "no signatures"],
)
def test_a_wrong_signature_is_refused(token: str, key: Any):
    with pytest.raises(TokenInvalidError):
        read(token).verify(import_public_key(public(key)))


def test_a_key_is_for_the_algorithm_that_it_declares():
    key = import_public_key({**public(RSA), "alg": "PS256"})
    with pytest.raises(TokenInvalidError):
        read(sign(key=RSA, alg="RS256")).verify(key)


@pytest.mark.parametrize(
    "members",
    [
        None,
        [],
        {},
        {"kty": ["EC"]},
        {"kty": "oct", "k": "AAAA"},
        dict(EC.as_dict(private=True)),
        {**public(RSA), "d": "AQAB"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "EC", "crv": "P-1", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "", "y": ""},
        {"kty": "EC", "crv": ["P-256"], "x": 1, "y": None},
        {**public(EC), "use": "sig", "key_ops": ["encrypt"]},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": 3, "e": []},
        {**public(RSA), "e": public(RSA)["n"][:-2] + "Q"},
    ],
)
def test_what_is_no_usable_public_key_is_refused(members: object):
    with pytest.raises(TokenInvalidError):
        import_public_key(members)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_a_weak_key_is_refused():
    with pytest.raises(TokenInvalidError):
        import_public_key(public(RSAKey.generate_key(1024)))
