"""Signed JSON Web Tokens of others, read strictly (RFC 7515, RFC 7519, RFC 8725): asymmetric algorithms only.

Knows nothing of who issues a token or what its claims mean.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key
from typing_extensions import override

from undercroft.shared.serialization import JsonValue, loads

PublicKey = ECKey | OKPKey | RSAKey

ASYMMETRIC_ALGORITHMS: Final = (
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "PS256",
    "PS384",
    "PS512",
    "RS256",
    "RS384",
    "RS512",
)

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_KEY_TYPES: Final = ("EC", "OKP", "RSA")
_RSA_BITS: Final = range(2_048, 4_097)  # below is weak, above is work for the verifier
_LARGEST_RSA_EXPONENT: Final = 2**32
# What the libraries below raise for texts, keys and signatures that make no sense.
_NONSENSE: Final = (JoseError, ValueError, TypeError, KeyError, RecursionError)


class TokenInvalidError(ValueError):
    """A token or key that proves nothing; the message says why and is safe to show."""


class _Registry(jws.JWSRegistry):
    """RFC 7515 section 4 tells to ignore unknown header parameters, and keys of 4,096 bits in headers are long."""

    max_header_length = 4_096
    max_payload_length = 16_384

    @override
    def check_header(self, header: dict[str, Any]) -> None:
        if "crit" in header or "b64" in header:
            raise TokenInvalidError("The token has critical header parameters, and none is understood.")


_REGISTRY: Final = _Registry(algorithms=ASYMMETRIC_ALGORITHMS)


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token that was read. It proves nothing before `verify`."""

    header: Mapping[str, Any]  # any JSON
    claims: Mapping[str, JsonValue]
    _signature: jws.CompactSignature

    @property
    def algorithm(self) -> str:
        """Return the name of the algorithm, always one of `ASYMMETRIC_ALGORITHMS`."""
        return cast("str", self.header["alg"])

    def verify(self, key: PublicKey) -> None:
        """Check the signature; raises `TokenInvalidError`, also when the key is for another algorithm."""
        if key.alg is not None and key.alg != self.algorithm:
            raise TokenInvalidError("The key is not for this algorithm.")
        try:
            is_valid = jws.validate_compact(self._signature, key, registry=_REGISTRY)
        except _NONSENSE as error:
            raise TokenInvalidError("The signature cannot be checked with this key.") from error
        if not is_valid:
            raise TokenInvalidError("The signature is wrong.")


def is_compact(text: str, *, max_length: int) -> bool:
    """Tell whether a text has the form of a compact signed token; costs next to nothing."""
    return len(text) <= max_length and _COMPACT.fullmatch(text) is not None


def read_token(text: str, *, media_type: str, max_length: int) -> SignedToken:
    """Read a compact JWS whose `typ` is the media type, with or without `application/` (RFC 8725 section 3.11).

    Raises `TokenInvalidError` for any other form or algorithm.
    """
    if not is_compact(text, max_length=max_length):
        raise TokenInvalidError("This is not a compact signed token of an allowed size.")
    try:
        signature = jws.extract_compact(text.encode("ascii"), registry=_REGISTRY)
        claims = loads(signature.payload)
    except _NONSENSE as error:
        raise TokenInvalidError("The token cannot be read.") from error
    header: object = signature.headers()  # whatever JSON was sent
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise TokenInvalidError("The token's parts are no objects.")
    kind = header.get("typ")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") != media_type:
        raise TokenInvalidError(f"The token's type is not {media_type}.")
    if header.get("alg") not in ASYMMETRIC_ALGORITHMS:
        raise TokenInvalidError("The token's algorithm is not allowed.")
    _REGISTRY.check_header(header)
    return SignedToken(header, claims, signature)


def import_public_key(members: object) -> PublicKey:
    """Read a public JWK (RFC 7517); raises `TokenInvalidError` for private, symmetric, weak or oversized keys."""
    if not isinstance(members, dict) or members.get("kty") not in _KEY_TYPES:
        raise TokenInvalidError("This is no asymmetric key.")
    if not _PRIVATE_MEMBERS.isdisjoint(members):
        raise TokenInvalidError("A private key was given away.")
    try:
        key = cast("PublicKey", import_key(members))
        numbers = key.public_key.public_numbers() if isinstance(key, RSAKey) else None
    except _NONSENSE as error:
        raise TokenInvalidError("The key cannot be read.") from error
    if numbers is not None and (numbers.n.bit_length() not in _RSA_BITS or numbers.e > _LARGEST_RSA_EXPONENT):
        raise TokenInvalidError("The key's size is not allowed.")
    return key
