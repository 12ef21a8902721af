"""How the protocol's endpoints answer."""

from collections.abc import Mapping
from typing import Final

from fastapi import Response

from undercroft.identity.errors.oauth import BearerError, InvalidDpopProofError, OAuthError
from undercroft.shared.serialization import dumps

JSON: Final = "application/json"
_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_REALM: Final = 'realm="undercroft"'


def answer(
    members: Mapping[str, object], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer that nobody stores."""
    return Response(dumps(members), status, headers={**_NO_STORE, **(headers or {})}, media_type=JSON)


def nothing() -> Response:
    """Return 200 without content, as RFC 7009 section 2.2 wants it."""
    return Response(b"", headers=_NO_STORE)


def refusal(error: OAuthError) -> Response:
    """Render an error as RFC 6749 section 5.2 does."""
    members = {"error": error.code, "error_description": error.detail}
    return answer(
        {name: text for name, text in members.items() if text}, status=error.status, headers=error.headers
    )


def bearer_refusal(error: BearerError, *, scheme: str = "Bearer") -> Response:
    """Render a resource's refusal: the challenge says what is wrong, without credentials nothing (RFC 6750)."""
    parts = [_REALM]
    if type(error) is not BearerError:
        parts += [f'error="{error.code}"', f'error_description="{error.detail}"']
    if error.scope:
        parts.append(f'scope="{error.scope}"')
    challenge = f"{scheme} {', '.join(parts)}"
    headers = {"WWW-Authenticate": challenge, **error.headers}
    members = {} if type(error) is BearerError else {"error": error.code, "error_description": error.detail}
    return answer(members, status=error.status, headers=headers)


def dpop_refusal(error: InvalidDpopProofError) -> Response:
    """Render a resource's refusal of a proof (RFC 9449 section 7.1)."""
    challenge = f'DPoP {_REALM}, error="{error.code}", error_description="{error.detail}"'
    headers = {"WWW-Authenticate": challenge, **error.headers}
    return answer({"error": error.code, "error_description": error.detail}, status=401, headers=headers)
