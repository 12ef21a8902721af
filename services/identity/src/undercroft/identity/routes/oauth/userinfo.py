"""`/oauth/userinfo` (OpenID Connect Core section 5.3)."""

from typing import Final

from fastapi import APIRouter, Request, Response

from undercroft.identity.dependencies.oauth.server import OAuthWiring
from undercroft.identity.errors.oauth import (
    BearerError,
    BearerRequestError,
    BearerTokenError,
    InvalidDpopProofError,
    InvalidRequestError,
)
from undercroft.identity.routes.oauth.answers import answer, bearer_refusal, dpop_refusal
from undercroft.identity.routes.oauth.requests import FORM, form_parameters, proof_thumbprint
from undercroft.identity.service.oauth.access_tokens import AccessToken
from undercroft.shared.auth import public
from undercroft.shared.db import get_database

_SCHEMES: Final = {"bearer": "Bearer", "dpop": "DPoP"}

router = APIRouter(tags=["OpenID Connect"])


@router.get("/oauth/userinfo", operation_id="tell_userinfo", summary="Tell userinfo")
@router.post("/oauth/userinfo", operation_id="tell_userinfo_by_post", summary="Tell userinfo by POST")
@public
async def tell_userinfo(request: Request) -> Response:
    """Tell a client about the person that it acts for: what the scopes of its token disclose."""
    scheme = "Bearer"
    try:
        scheme, text = await _presented(request)
        async with get_database(request).read() as session:
            service = OAuthWiring(request.app, session).userinfo
            token = await service.read(text)
            await _check_binding(request, token, text, scheme=scheme)
            return answer(await service.tell(token))
    except InvalidDpopProofError as error:
        return dpop_refusal(error)
    except BearerError as error:
        return bearer_refusal(error, scheme=scheme)


async def _presented(request: Request) -> tuple[str, str]:
    """Return how a token is presented, and the token: in the header or, with POST, in the form; never in the query."""
    headers = request.headers.getlist("authorization")
    in_form = await _token_in_form(request)
    if len(headers) > 1 or (headers and in_form is not None):
        raise BearerRequestError("The token was sent in two ways.")
    if in_form is not None:
        return "Bearer", in_form
    name, _, text = (headers[0] if headers else "").partition(" ")
    scheme = _SCHEMES.get(name.lower())
    if scheme is None:
        raise BearerError("A token is needed.")
    if not text.strip():
        raise BearerRequestError("The token is missing.")
    return scheme, text.strip()


async def _token_in_form(request: Request) -> str | None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method != "POST" or media_type != FORM:
        return None
    try:
        return (await form_parameters(request)).get("access_token")
    except InvalidRequestError as error:
        raise BearerRequestError(error.detail) from None


async def _check_binding(request: Request, token: AccessToken, text: str, *, scheme: str) -> None:
    """Check that whoever presents a bound token holds its key (RFC 9449 section 7)."""
    if token.thumbprint is None:
        if scheme == "DPoP":
            raise BearerTokenError("The token is not bound to a key.")
        return
    if scheme != "DPoP":
        raise BearerTokenError("The token is bound to a key: present it with a proof.")
    if await proof_thumbprint(request, access_token=text, is_required=True) != token.thumbprint:
        raise BearerTokenError("The token is bound to another key.")
