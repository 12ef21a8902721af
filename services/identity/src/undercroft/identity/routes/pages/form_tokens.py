"""Proof that a form was sent from one of our own pages.

A random cookie and the session's cookie are signed into a hidden field (the signed double-submit pattern): another
site can neither read the cookie nor make the field, and a form that was rendered for somebody else is refused.
"""

import hmac
import secrets
from typing import Final

from fastapi import Request, Response

from undercroft.identity.domain.cookies import cookie_name
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.settings import derive_key

FORM_FIELD: Final = "form_token"

_COOKIE: Final = "undercroft_form"
_SESSION_COOKIE: Final = "undercroft_session"
_LONGEST_SECRET: Final = 128


def form_token(request: Request) -> tuple[str, str | None]:
    """Return the token for the forms of this answer, and a new secret to remember when there is none yet."""
    secret = _secret_of(request)
    if secret is not None:
        return _sign(request, secret), None
    fresh = secrets.token_urlsafe(32)
    return _sign(request, fresh), fresh


def is_own_form(request: Request, token: str) -> bool:
    """Tell whether a form with this token was rendered for this browser and its session."""
    secret = _secret_of(request)
    # A browser says so when another site sent the form; those that are too old to say it still need the token.
    is_foreign = request.headers.get("sec-fetch-site") == "cross-site"
    if secret is None or is_foreign:
        return False
    return hmac.compare_digest(_sign(request, secret).encode(), token.encode())


def remember_form_secret(response: Response, secret: str, *, is_https: bool) -> None:
    """Set the cookie that tokens are bound to; it goes when the browser is closed."""
    response.set_cookie(
        cookie_name(_COOKIE, is_https=is_https),
        secret,
        path="/",
        secure=is_https,
        httponly=True,
        samesite="lax",
    )


def _secret_of(request: Request) -> str | None:
    settings: IdentitySettings = request.app.state.settings
    secret = request.cookies.get(cookie_name(_COOKIE, is_https=settings.is_https), "")
    return secret if 0 < len(secret) <= _LONGEST_SECRET else None


def _sign(request: Request, secret: str) -> str:
    settings: IdentitySettings = request.app.state.settings
    session = request.cookies.get(cookie_name(_SESSION_COOKIE, is_https=settings.is_https), "")
    key = derive_key(settings.secret_key, "page-forms")
    return hmac.new(key, f"{secret}\n{session}".encode(), "sha256").hexdigest()
