"""Authorization requests (RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2.1): read, and checked in order."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from undercroft.identity.domain.oauth import audiences, scopes
from undercroft.identity.domain.oauth.clients import AUTHORIZATION_CODE, REFRESH_TOKEN, Client
from undercroft.identity.domain.oauth.parameters import Parameters
from undercroft.identity.domain.oauth.user_claims import RequestedClaims, read_claims_parameter
from undercroft.identity.errors.oauth import (
    InvalidRequestError,
    RegistrationNotSupportedError,
    RequestNotSupportedError,
    RequestUriNotSupportedError,
    UnauthorizedClientError,
    UnsupportedResponseTypeError,
)

PROMPTS: Final = frozenset({"none", "login", "consent", "select_account"})

_CHALLENGE = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_SECONDS = re.compile(r"[0-9]{1,10}")
_LONGEST_NONCE: Final = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """A request that may be answered with a code, once somebody is there and agrees."""

    client: Client
    redirect_uri: str
    state: str | None
    scopes: frozenset[str]
    resources: tuple[str, ...]
    code_challenge: str
    nonce: str | None
    prompt: frozenset[str]
    max_age: int | None
    claims: RequestedClaims
    thumbprint: str | None
    id_token_hint: str | None


def read_request(
    client: Client,
    parameters: Parameters,
    *,
    redirect_uri: str,
    known_resources: Collection[str],
    is_pushed: bool,
) -> AuthorizationRequest:
    """Check everything but the client and where the answer goes; raises the errors that go back there."""
    parameters.require_unrepeated()
    _refuse_what_is_not_supported(parameters)
    _check_response(client, parameters, is_pushed=is_pushed)
    prompt = frozenset((parameters.get("prompt") or "").split())
    if not prompt <= PROMPTS or ("none" in prompt and len(prompt) > 1):
        raise InvalidRequestError("The prompt is unknown or contradicts itself.")
    max_age, thumbprint = parameters.get("max_age"), parameters.get("dpop_jkt")
    if max_age is not None and not _SECONDS.fullmatch(max_age):
        raise InvalidRequestError("max_age is not a number of seconds.")
    if thumbprint is not None and not _THUMBPRINT.fullmatch(thumbprint):
        raise InvalidRequestError("dpop_jkt is not a thumbprint.")
    granted = scopes.delegated(parameters.get("scope"), client.scopes)
    if REFRESH_TOKEN not in client.grant_types:
        granted -= {scopes.OFFLINE_ACCESS}
    return AuthorizationRequest(
        client=client,
        redirect_uri=redirect_uri,
        state=parameters.get("state"),
        scopes=granted,
        resources=audiences.requested(parameters.resources, known_resources),
        code_challenge=_challenge(parameters),
        nonce=_nonce(parameters),
        prompt=prompt,
        max_age=None if max_age is None else int(max_age),
        claims=read_claims_parameter(parameters.get("claims")),
        thumbprint=thumbprint,
        id_token_hint=parameters.get("id_token_hint"),
    )


def _refuse_what_is_not_supported(parameters: Parameters) -> None:
    if parameters.get("request") is not None:
        raise RequestNotSupportedError("Request objects are not read.")
    if parameters.get("request_uri") is not None:
        raise RequestUriNotSupportedError("Only pushed requests are known.")
    if parameters.get("registration") is not None:
        raise RegistrationNotSupportedError("Clients do not register themselves in a request.")


def _check_response(client: Client, parameters: Parameters, *, is_pushed: bool) -> None:
    response_type = parameters.require("response_type")
    if response_type != "code":
        raise UnsupportedResponseTypeError("Only codes are issued here.")
    if AUTHORIZATION_CODE not in client.grant_types:
        raise UnauthorizedClientError("The client is not registered for codes.")
    if parameters.get("response_mode") not in {None, "query"}:
        raise InvalidRequestError("Answers are sent in the query only.")
    if client.is_pushed_request_required and not is_pushed:
        raise InvalidRequestError("The client has to push its requests.")


def _challenge(parameters: Parameters) -> str:
    challenge = parameters.require("code_challenge")
    if parameters.get("code_challenge_method") != "S256":
        raise InvalidRequestError("The code_challenge_method has to be S256.")
    if not _CHALLENGE.fullmatch(challenge):
        raise InvalidRequestError("The code_challenge is malformed.")
    return challenge


def _nonce(parameters: Parameters) -> str | None:
    nonce = parameters.get("nonce")
    if nonce is not None and len(nonce) > _LONGEST_NONCE:
        raise InvalidRequestError("The nonce is too long.")
    return nonce
