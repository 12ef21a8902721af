from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey
from pydantic import SecretStr

from undercroft.shared.cache import close_cache, make_cache
from undercroft.shared.dpop import Proof, UsedProofs, normalize_url, verify_proof
from undercroft.shared.jose import TokenInvalidError
from undercroft.shared.serialization import dumps

KEY = ECKey.generate_key("P-256")
URL = "https://api.example/v1/flags"
TOKEN = "a.b.c"
NOW = 1_000_000.0
HASH = urlsafe_b64encode(sha256(TOKEN.encode()).digest()).rstrip(b"=").decode()


def prove(*, key: Any = KEY, header: dict[str, object] | None = None, **claims: Any) -> str:
    """Make a proof; a claim or header parameter that is None is left out."""
    full = {"alg": "ES256", "typ": "dpop+jwt", "jwk": key.as_dict(private=False), **(header or {})}
    said = {"jti": "1", "htm": "GET", "htu": URL, "iat": NOW, "ath": HASH, **claims}
    registry = jws.JWSRegistry(algorithms=[str(full["alg"])], strict_check_header=False)
    registry.max_header_length = 10_000
    return jws.serialize_compact(
        {name: value for name, value in full.items() if value is not None},
        dumps({name: value for name, value in said.items() if value is not None}),
        key,
        registry=registry,
    )


def check(text: str) -> Proof:
    return verify_proof(text, method="GET", urls={URL}, now=NOW, access_token=TOKEN)


def test_a_proof_names_its_key():
    assert check(prove()) == Proof(KEY.thumbprint(), "1")


def test_a_proof_may_be_made_with_a_long_key():
    key = RSAKey.generate_key(4096)
    assert check(prove(key=key, header={"alg": "PS512"})).thumbprint == key.thumbprint()


def test_a_proof_for_no_token_needs_no_hash():
    assert verify_proof(prove(ath=None), method="GET", urls={URL}, now=NOW).id == "1"


@pytest.mark.parametrize(
    "claims",
    [
        {"htu": "HTTPS://API.example:443/v1/flags"},
        {"htu": URL + "?a=b#c"},
        {"htu": "https://api.example/v1/%66lags"},
        {"iat": NOW - 60},
        {"iat": NOW + 10},
        {"iat": int(NOW)},
        {"nonce": "unasked"},
    ],
    ids=str,
)
def test_what_means_the_same_is_accepted(claims: dict[str, Any]):
    assert check(prove(**claims)).id == "1"


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"typ": "jwt"}, {}),
        ({"typ": None}, {}),
        ({"jwk": None}, {}),
        ({"jwk": KEY.as_dict(private=True)}, {}),
        ({"jwk": ECKey.generate_key("P-256").as_dict(private=False)}, {}),
        ({"jwk": {"kty": "oct", "k": "AAAA"}}, {}),
        ({"crit": ["kid"], "kid": "1"}, {}),
        ({}, {"jti": None}),
        ({}, {"jti": ""}),
        ({}, {"jti": 1}),
        ({}, {"htm": None}),
        ({}, {"htm": "POST"}),
        ({}, {"htm": "get"}),
        ({}, {"htu": None}),
        ({}, {"htu": 1}),
        ({}, {"htu": "/v1/flags"}),
        ({}, {"htu": "https://api.example/v1/flags/"}),
        ({}, {"htu": "https://api.example/v1/Flags"}),
        ({}, {"htu": "http://api.example/v1/flags"}),
        ({}, {"htu": "https://api.example:8443/v1/flags"}),
        ({}, {"htu": "https://evil.example/v1/flags"}),
        ({}, {"iat": None}),
        ({}, {"iat": "now"}),
        ({}, {"iat": True}),
        ({}, {"iat": NOW - 61}),
        ({}, {"iat": NOW + 11}),
        ({}, {"ath": None}),
        ({}, {"ath": 1}),
        ({}, {"ath": HASH + "="}),
        ({}, {"ath": "é"}),
        ({}, {"ath": HASH[::-1]}),
    ],
    ids=str,
)
def test_any_defect_makes_a_proof_worthless(header: dict[str, object], claims: dict[str, object]):
    with pytest.raises(TokenInvalidError):
        check(prove(header=header, **claims))


@pytest.mark.parametrize("text", ["", "x", f"{prove()}, {prove()}", prove() + "x" * 7_000])
def test_what_is_no_proof(text: str):
    with pytest.raises(TokenInvalidError):
        check(text)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://h", "http://h/"),
        ("http://h:80/a", "http://h/a"),
        ("http://h:81/a", "http://h:81/a"),
        ("https://[2001:DB8::1]:443/a", "https://[2001:db8::1]/a"),
        ("http://h/%7euser/%2f%c3", "http://h/~user/%2F%C3"),
        ("http://h:port/", None),
        ("http://[::1", None),
        ("http:///a", None),
        ("ftp://h/a", None),
        ("http://u@h/a", None),
        ("http://h/a b", None),
    ],
)
def test_urls_are_compared_in_their_normal_form(url: str, normal: str | None):
    assert normalize_url(url) == normal


async def test_a_proof_is_used_once():
    cache = make_cache(None, prefix="test")
    used = UsedProofs(cache, cache, prefix="test")
    assert await used.is_first_use(Proof("key", "1"))
    assert not await used.is_first_use(Proof("key", "1"))
    assert await used.is_first_use(Proof("key", "2"))
    assert await used.is_first_use(Proof("other", "1"))
    await close_cache(cache)


async def test_while_redis_is_away_a_proof_is_used_once_here():
    away, local = make_cache(SecretStr("redis://127.0.0.1:1"), prefix="test"), make_cache(None, prefix="test")
    used = UsedProofs(away, local, prefix="test")
    assert await used.is_first_use(Proof("key", "1"))
    assert not await used.is_first_use(Proof("key", "1"))
    await close_cache(away)
    await close_cache(local)
