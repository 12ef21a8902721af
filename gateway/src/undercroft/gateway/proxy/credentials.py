"""The credentials in a request's headers (RFC 6750 section 2.1, RFC 9449 section 7.1)."""

from typing import Final

from undercroft.gateway.auth.credentials import KEY_PREFIX, Presented
from undercroft.gateway.errors import (
    CredentialsInvalidError,
    CredentialsMalformedError,
    MalformedRequestError,
)
from undercroft.gateway.proxy.headers import RequestHeaders

_BEARER: Final = b"bearer "
_DPOP: Final = b"dpop "
_KEY_PREFIX: Final = KEY_PREFIX.encode("ascii")


def find_credentials(headers: RequestHeaders) -> Presented | None:
    """Return what a request presents, or None without credentials that are meant for the gateway.

    `X-API-Key` carries keys only: a token there would escape whoever watches over Authorization.

    Raises `CredentialsMalformedError` when two ways of sending them disagree or one cannot be read, and
    `CredentialsInvalidError` for characters that no credential has.
    """
    authorization, own_header = headers.get(b"authorization"), headers.get(b"x-api-key")
    secret, is_bound, is_named = own_header, False, True
    if authorization is not None:
        is_bound = authorization[:5].lower() == _DPOP
        if is_bound or authorization[:7].lower() == _BEARER:
            secret, is_named = authorization[5 if is_bound else 7 :].strip(), False
            if not secret or b" " in secret:
                raise CredentialsMalformedError("Authorization carries one token after its scheme.")
            if own_header is not None and (own_header != secret or is_bound):
                raise CredentialsMalformedError("Authorization and X-API-Key disagree.")
    if secret is None:
        return None
    organization, proof = headers.get(b"x-organization"), headers.get(b"dpop")
    if not secret.isascii() or (is_named and not secret.startswith(_KEY_PREFIX)):
        raise CredentialsInvalidError
    if organization is None and not is_bound:
        return Presented(secret.decode("ascii"))
    if organization is not None and not organization.isascii():
        raise MalformedRequestError("X-Organization is the identifier of an organization.")
    return Presented(
        secret.decode("ascii"),
        organization.decode("ascii") if organization is not None else None,
        is_bound,
        proof.decode("latin-1") if proof is not None else None,
    )
