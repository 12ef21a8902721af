"""Access tokens and proofs, as identity and its clients make them."""

import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any
from uuid import UUID

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey
from typing_extensions import override

from undercroft.gateway.auth.credentials import Credential, Presented
from undercroft.gateway.auth.proofs import ProofChecker
from undercroft.shared.cache import make_cache
from undercroft.shared.dpop import UsedProofs
from undercroft.shared.ids import TypeId, new_uuid7
from undercroft.shared.serialization import dumps

ISSUER = "http://127.0.0.1:8080"
ORGANIZATION = TypeId("org", UUID("01890000-0000-7000-8000-000000000001"))
OTHER_ORGANIZATION = TypeId("org", UUID("01890000-0000-7000-8000-000000000002"))
USER = str(TypeId("usr", UUID("01890000-0000-7000-8000-000000000003")))
GRANT = str(TypeId("grt", UUID("01890000-0000-7000-8000-000000000004")))
CLIENT = str(TypeId("client", UUID("01890000-0000-7000-8000-000000000005")))
KEY = str(TypeId("key", UUID("01890000-0000-7000-8000-000000000006")))

SCOPE = "account flags:evaluate identity:read openid"
RSA = RSAKey.generate_key(2048)


class _Lenient(jws.JWSRegistry):
    """Lets defects be signed."""

    @override
    def check_header(self, header: dict[str, Any]) -> None: ...


def sign(header: dict[str, object], payload: bytes, key: Any) -> str:
    """Sign whatever header is asked for; members that are None are left out."""
    registry = _Lenient(algorithms=[str(header["alg"])])
    known = {name: value for name, value in header.items() if value is not None}
    return jws.serialize_compact(known, payload, key, registry=registry)


class TokenIssuer:
    """Signs access tokens with its newest key, and shows the public ones."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.kid = self.rotate()

    def rotate(self, key: Any = None, algorithm: str = "ES256") -> str:
        """Sign with another key from now on; the ones before stay published."""
        made = ECKey.generate_key("P-256") if key is None else key
        self.kid = made.thumbprint()
        self.keys[self.kid] = (made, algorithm)
        return self.kid

    def key_set(self, **properties: object) -> bytes:
        """Return the JWK set; properties replace members of each key."""
        keys = [
            {**key.as_dict(private=False), "kid": kid, "alg": algorithm, "use": "sig", **properties}
            for kid, (key, algorithm) in self.keys.items()
        ]
        return dumps({"keys": keys})

    def token(self, header: dict[str, object] | None = None, *, key: Any = None, **claims: object) -> str:
        """Issue a person's token; claims and header parameters that are None are left out."""
        now = int(time.time())
        known = {
            "iss": ISSUER,
            "sub": USER,
            "aud": [ISSUER],
            "client_id": "undercroft",
            "iat": now,
            "exp": now + 600,
            "jti": str(new_uuid7()),
            "scope": SCOPE,
            "sid": GRANT,
            "org": str(ORGANIZATION),
            **claims,
        }
        signing_key, algorithm = self.keys[self.kid]
        return sign(
            {"alg": algorithm, "typ": "at+jwt", "kid": self.kid, **(header or {})},
            dumps({name: value for name, value in known.items() if value is not None}),
            key or signing_key,
        )


class Nobody:
    """A resolver that is never asked."""

    async def resolve(self, presented: Presented) -> Credential:
        raise AssertionError(presented)


def no_proofs() -> ProofChecker:
    """Return a checker for tests of what needs no proof."""
    cache = make_cache(None, prefix="test")
    return ProofChecker(UsedProofs(cache, cache, prefix="test"), addresses=())


class Holder:
    """A client that holds a key and proves it (RFC 9449)."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256")

    @property
    def confirmation(self) -> dict[str, object]:
        """Return the claim that binds a token to this key."""
        return {"jkt": self.key.thumbprint()}

    def prove(self, token: str, *, header: dict[str, object] | None = None, **claims: object) -> str:
        """Make a proof for `GET /v1/flags`; claims replace its own."""
        known = {
            "jti": str(new_uuid7()),
            "htm": "GET",
            "htu": f"{ISSUER}/v1/flags",
            "iat": int(time.time()),
            "ath": urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode(),
            **claims,
        }
        public = self.key.as_dict(private=False)
        return sign(
            {"alg": "ES256", "typ": "dpop+jwt", "jwk": public, **(header or {})},
            dumps({name: value for name, value in known.items() if value is not None}),
            self.key,
        )
