"""Refusals as people see them in a browser: a small page in the look of identity's, without script or assets."""

import base64
import hashlib
import html
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Final

from undercroft.gateway.proxy.headers import RawHeader
from undercroft.shared.errors import ServiceError

_WORDS: Final = {
    HTTPStatus.NOT_FOUND: ("There is nothing here", "The address may be mistyped, or what was here is gone."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("This is not possible here", "Go back to the page before and try again."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        "This is too much",
        "What was sent is larger than this page takes.",
    ),
    HTTPStatus.TOO_MANY_REQUESTS: ("Too many attempts", "Too much came from your network at once."),
    HTTPStatus.BAD_GATEWAY: ("Please try again in a moment", "This page is out of reach right now."),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Please try again in a moment", "This page is out of reach right now."),
    HTTPStatus.GATEWAY_TIMEOUT: ("This took too long", "Please try again in a moment."),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("Something went wrong", "It was our side, and it has been noted."),
}
# From two minutes on a wait is told in minutes, as people say it.
_SAID_IN_MINUTES: Final = 120
_OTHERWISE: Final = ("This did not arrive as it should", "Go back to the page before and try again.")
_MARK: Final = (
    '<svg viewBox="0 0 32 32" fill="none" stroke="currentColor" stroke-width="2.6" stroke-linecap="round" '
    'aria-hidden="true" focusable="false"><path d="M3 28V16a13 13 0 0 1 26 0v12"/>'
    '<path d="M9.5 28V17a6.5 6.5 0 0 1 13 0v11"/><path d="M16 28v-9"/></svg>'
)


def refusal_page(error: ServiceError, *, request_id: str) -> tuple[bytes, list[RawHeader]]:
    """Return a page that says what happened, and the headers that it needs besides those of the error."""
    heading, text = _WORDS.get(HTTPStatus(error.status), _OTHERWISE)
    seconds = error.headers.get("Retry-After", "")
    wait = f" Wait {_duration(int(seconds))} and try again." if seconds.isdigit() else ""
    style, policy = _style()
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
        f"<title>{heading}</title><style>{style}</style></head><body><header>{_MARK}</header>"
        f"<main><h1>{heading}</h1><p>{text}{wait}</p>"
        f"<p><small>Code <code>{html.escape(error.code)}</code>"
        f"<br>Request <code>{html.escape(request_id)}</code></small></p></main></body></html>"
    )
    return page.encode(), [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy),
        (b"cache-control", b"no-store"),
    ]


def prefers_html(accept: str) -> bool:
    """Tell whether a caller would rather have HTML than JSON (RFC 9110 section 12.5.1)."""
    return _quality(accept, "text/html") > _quality(accept, "application/json")


@cache
def _style() -> tuple[str, bytes]:
    """Return the page's style and the policy that names it by its hash."""
    style = files("undercroft.gateway").joinpath("assets/refusal.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return style, policy.encode("ascii")


def _duration(seconds: int) -> str:
    minutes = -(-seconds // 60)
    number, unit = (seconds, "second") if seconds < _SAID_IN_MINUTES else (minutes, "minute")
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _quality(accept: str, media_type: str) -> float:
    """Return the weight of a media type: the most specific range that matches counts."""
    ranges = {media_type: 3, media_type.partition("/")[0] + "/*": 2, "*/*": 1}
    best, quality = 0, 0.0
    for entry in accept.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        specificity = ranges.get(name, 0)
        if specificity > best:
            best, quality = specificity, _weight(parameters)
    return quality


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
