"""What the protocol's endpoints read from a request."""

import base64
import binascii
from datetime import datetime, timedelta
from typing import Final, cast

from fastapi import Request

from undercroft.identity.dependencies.devices import client_address
from undercroft.identity.domain.oauth.clients import Client
from undercroft.identity.domain.oauth.parameters import Parameters, read_parameters
from undercroft.identity.domain.sealing import SealBrokenError, Sealer
from undercroft.identity.errors.oauth import InvalidDpopProofError, InvalidRequestError, UseDpopNonceError
from undercroft.identity.service.oauth.authentication import ClientAuthenticator
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.dpop import Proof, UsedProofs, normalize_url, verify_proof
from undercroft.shared.jose import TokenInvalidError

FORM: Final = "application/x-www-form-urlencoded"
_LONGEST_BODY: Final = 65_536
_NONCE_PLACE: Final = b"nonce"
_NONCE_LIFE: Final = timedelta(minutes=5)


async def form_parameters(request: Request) -> Parameters:
    """Read a form in which nothing is repeated; raises `InvalidRequestError`."""
    parameters = await any_form_parameters(request)
    parameters.require_unrepeated()
    return parameters


async def any_form_parameters(request: Request) -> Parameters:
    """Read a form, whatever is repeated in it."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != FORM:
        raise InvalidRequestError("The body has to be application/x-www-form-urlencoded.")
    body = await request.body()
    if len(body) > _LONGEST_BODY:
        raise InvalidRequestError("The body is too long.")
    try:
        return read_parameters(body.decode("ascii"))
    except UnicodeDecodeError:
        raise InvalidRequestError("The body is not urlencoded.") from None


async def authenticated_client(request: Request, parameters: Parameters) -> Client:
    """Return the client of a request; raises what `ClientAuthenticator` raises."""
    authenticator: ClientAuthenticator = request.app.state.client_authenticator
    authorization = request.headers.getlist("authorization")
    return await authenticator.authenticate(
        authorization, parameters, address=lambda: client_address(request)
    )


async def proof_thumbprint(
    request: Request, *, access_token: str | None = None, is_required: bool = False
) -> str | None:
    """Return the key that a request's DPoP proof was made with, None without a proof.

    Raises `InvalidDpopProofError` and `UseDpopNonceError`.
    """
    proofs = request.headers.getlist("dpop")
    if not proofs and not is_required:
        return None
    if len(proofs) != 1:
        raise InvalidDpopProofError("Exactly one DPoP proof is needed.")
    settings: IdentitySettings = request.app.state.settings
    now: datetime = request.app.state.clock()
    url = cast("str", normalize_url(settings.issuer + request.url.path))
    try:
        proof = verify_proof(
            proofs[0], method=_method(request), urls=(url,), now=now.timestamp(), access_token=access_token
        )
    except TokenInvalidError as error:
        raise InvalidDpopProofError(str(error)) from None
    if settings.dpop_nonce_required:
        _check_nonce(request, proof, now)
    used: UsedProofs = request.app.state.used_proofs
    if not await used.is_first_use(proof):
        raise InvalidDpopProofError("The proof was used before.")
    return proof.thumbprint


def _method(request: Request) -> str:
    return request.method


def new_nonce(request: Request, now: datetime) -> str:
    """Make a nonce: the time, sealed, so that nobody has to remember it (RFC 9449 section 8)."""
    sealer: Sealer = request.app.state.nonce_sealer
    sealed = sealer.seal(str(int(now.timestamp())).encode(), place=_NONCE_PLACE)
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _check_nonce(request: Request, proof: Proof, now: datetime) -> None:
    sealer: Sealer = request.app.state.nonce_sealer
    nonce = proof.nonce or ""
    try:
        sealed = base64.urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))
        made_at = int(sealer.open(sealed, place=_NONCE_PLACE))
        is_fresh = 0 <= now.timestamp() - made_at + 1 <= _NONCE_LIFE.total_seconds()
    except (SealBrokenError, binascii.Error, ValueError):
        is_fresh = False
    if not is_fresh:
        headers = {"DPoP-Nonce": new_nonce(request, now)}
        raise UseDpopNonceError("The proof needs a nonce of this server.", headers=headers)
