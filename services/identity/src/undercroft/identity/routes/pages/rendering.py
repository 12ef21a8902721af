"""How a page is made: one template environment, and the headers that every page is sent with."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final
from uuid import UUID

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse

from undercroft.identity.routes.pages.assets import asset_path
from undercroft.identity.routes.pages.form_tokens import FORM_FIELD, form_token, remember_form_secret
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.ids import TypeId

PAGE_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@cache
def environment() -> Environment:
    """Return the environment of all templates; everything that is put into one is escaped."""
    made = Environment(
        loader=FileSystemLoader(Path(str(files("undercroft.identity").joinpath("templates")))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["moment"] = _moment
    made.filters["type_id"] = _type_id
    return made


def _moment(value: datetime) -> str:
    return f"{value.day} {value:%B %Y, %H:%M} UTC"


def _type_id(value: UUID, prefix: str) -> str:
    return str(TypeId(prefix, value))


def content_security_policy(form_targets: Sequence[str] = ()) -> str:
    """Return the policy of a page.

    `form_targets` are further origins to which the answer to a form may redirect: browsers check `form-action` on
    redirects too, and consent ends with one to the client.
    """
    targets = " ".join(("'self'", *form_targets))
    return (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
        f"form-action {targets}; frame-ancestors 'none'; base-uri 'none'"
    )


class FormValues(dict[str, str]):
    """What fields of a form hold."""

    def __missing__(self, name: str) -> str:
        """Return nothing for a field that was not filled in."""
        return ""


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    form_targets: Sequence[str] = (),
    values: Mapping[str, str] | None = None,
    **context: object,
) -> HTMLResponse:
    """Render `templates/<template>.html.jinja` as an answer.

    Every template knows `branding_name`, `asset(name)`, `form_field` and `form_token` (put both into each form, the
    macro `hidden_token()` does), `errors` (field -> sentence), `notice`, and `values`: what fields hold, nothing for
    those that are not named.
    """
    settings: IdentitySettings = request.app.state.settings
    token, new_secret = form_token(request)
    content = (
        environment()
        .get_template(f"{template}.html.jinja")
        .render(
            {
                "branding_name": settings.branding_name,
                "asset": asset_path,
                "form_field": FORM_FIELD,
                "form_token": token,
                "errors": {},
                "notice": None,
                **context,
                "values": FormValues(values or {}),
            }
        )
    )
    response = HTMLResponse(content, status_code=status, headers=PAGE_HEADERS)
    response.headers["Content-Security-Policy"] = content_security_policy(form_targets)
    if new_secret is not None:
        remember_form_secret(response, new_secret, is_https=settings.is_https)
    return response


def see_other(location: str) -> RedirectResponse:
    """Answer a form with 303: the next request is a GET, and reloading sends nothing twice."""
    return RedirectResponse(location, status_code=303, headers=PAGE_HEADERS)
