"""Sending people back to clients (RFC 6749 sections 4.1.2 and 4.1.2.1, RFC 9207)."""

from starlette.responses import RedirectResponse

from undercroft.identity.domain.oauth.redirect_uris import with_parameters
from undercroft.identity.errors.oauth import OAuthError
from undercroft.identity.routes.pages.rendering import see_other


def back_with_code(redirect_uri: str, code: str, *, state: str | None, issuer: str) -> RedirectResponse:
    """Send somebody back with a code."""
    return _back(redirect_uri, [("code", code)], state=state, issuer=issuer)


def back_with_error(
    redirect_uri: str, error: OAuthError, *, state: str | None, issuer: str
) -> RedirectResponse:
    """Send somebody back with what was refused."""
    parameters = [("error", error.code), ("error_description", error.detail)]
    return _back(redirect_uri, parameters, state=state, issuer=issuer)


def _back(
    redirect_uri: str, parameters: list[tuple[str, str]], *, state: str | None, issuer: str
) -> RedirectResponse:
    further = [] if state is None else [("state", state)]
    # Clients fail without `iss` once the metadata promises it, on errors too.
    return see_other(with_parameters(redirect_uri, [*parameters, *further, ("iss", issuer)]))
