"""The style sheet and the one script of the pages, under names that change with their content."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from fastapi import APIRouter, Response

from undercroft.shared.auth import public
from undercroft.shared.errors import NotFoundError

PREFIX: Final = "/assets/identity"

_MEDIA_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_DIGEST_CHARACTERS: Final = 16


class Asset(NamedTuple):
    """One file as it is served."""

    content: bytes
    media_type: str


@cache
def _assets() -> tuple[dict[str, Asset], dict[str, str]]:
    """Read every asset; returns what is served by name, and the served name of each file."""
    served: dict[str, Asset] = {}
    names: dict[str, str] = {}
    for entry in files("undercroft.identity").joinpath("static").iterdir():
        stem, _, kind = entry.name.rpartition(".")
        if kind not in _MEDIA_TYPES:
            continue
        content = entry.read_bytes()
        name = f"{stem}-{hashlib.sha256(content).hexdigest()[:_DIGEST_CHARACTERS]}.{kind}"
        served[name] = Asset(content, _MEDIA_TYPES[kind])
        names[entry.name] = name
    return served, names


def asset_path(name: str) -> str:
    """Return the public path of a file below `static`."""
    return f"{PREFIX}/{_assets()[1][name]}"


router = APIRouter(prefix=PREFIX, include_in_schema=False)


@router.get("/{name}")
@public
async def get_asset(name: str) -> Response:
    """Serve an asset; its name is its content's, so it is kept for ever."""
    asset = _assets()[0].get(name)
    if asset is None:
        raise NotFoundError("There is no such asset.")
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return Response(asset.content, media_type=asset.media_type, headers=headers)
