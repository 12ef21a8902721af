"""The credentials in a request's headers (RFC 6750 section 2.1, RFC 9449 section 7.1), and in the query of a stream."""

from typing import Final
from urllib.parse import unquote_to_bytes

from undercroft.gateway.auth.credentials import KEY_PREFIX, Presented
from undercroft.gateway.errors import (
    CredentialsInvalidError,
    CredentialsMalformedError,
    MalformedRequestError,
)
from undercroft.gateway.proxy.headers import RequestHeaders
from undercroft.gateway.proxy.passage import Passage
from undercroft.gateway.routes_table import Route
from undercroft.shared.stream_tokens import STREAM_TOKEN_PARAMETER

_BEARER: Final = b"bearer "
_DPOP: Final = b"dpop "
_KEY_PREFIX: Final = KEY_PREFIX.encode("ascii")
_STREAM_TOKEN: Final = STREAM_TOKEN_PARAMETER.encode("ascii")


def credentials_of(passage: Passage, route: Route) -> Presented | None:
    """Return what a request presents on a route, and take the stream token out of its query; raises as below."""
    presented = find_credentials(passage.headers)
    if not route.stream:
        return presented
    stream_token, passage.query = take_stream_token(passage.query)
    if presented is not None and stream_token is not None:
        raise CredentialsMalformedError("Credentials stand in a header and in the query.")
    return presented or stream_token


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


def take_stream_token(query: bytes) -> tuple[Presented | None, bytes]:
    """Return the stream token in a query, and the query without it: it is not the service's to see.

    Raises `CredentialsMalformedError` when there is more than one.
    """
    parts = query.split(b"&") if query else []
    tokens = [part for part in parts if unquote_to_bytes(part.partition(b"=")[0]) == _STREAM_TOKEN]
    if not tokens:
        return None, query
    if len(tokens) > 1:
        raise CredentialsMalformedError("The query carries more than one token.")
    secret = unquote_to_bytes(tokens[0].partition(b"=")[2])
    if not secret.isascii():
        raise CredentialsInvalidError
    kept = b"&".join(part for part in parts if part is not tokens[0])
    return Presented(secret.decode("ascii"), is_stream_token=True), kept
