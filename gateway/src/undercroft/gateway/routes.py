"""The gateway's own views: the platform's status, its OpenAPI document and the pages that show them."""

from importlib.resources import files

from fastapi import APIRouter, Request, Response

from undercroft.gateway.compositions.status import PlatformStatus, StatusComposition, StatusPage
from undercroft.gateway.errors import RouteNotFoundError
from undercroft.gateway.openapi.document import MergedDocument
from undercroft.gateway.proxy.pages import prefers_html
from undercroft.shared.auth import public
from undercroft.shared.preconditions import if_none_match_matches
from undercroft.shared.serialization import JsonResponse

_ASSETS = {
    "docs.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
}
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

_HOME_HEADERS = {
    "Vary": "Accept",
    "Link": '</openapi.json>; rel="service-desc", </docs>; rel="service-doc"',  # RFC 8631
}

router = APIRouter()


@router.get("/", include_in_schema=False)
@public
async def read_home(request: Request) -> Response:
    """Send browsers to the documentation; for programs there is nothing here, and links to what there is."""
    if not prefers_html(request.headers.get("accept", "*/*")):
        raise RouteNotFoundError("There is nothing at this path.", headers=_HOME_HEADERS)
    return Response(status_code=303, headers={"Location": "/docs", **_HOME_HEADERS})


@router.get(
    "/v1/status",
    response_model=PlatformStatus,
    tags=["platform"],
    name="get_platform_status",
    responses={200: {"content": {"text/html": {}}}},
)
@public
async def read_status(request: Request) -> Response:
    """Tell the readiness and latency of every service and of what it depends on.

    Always 200: a part that is down is told in the body. Browsers get a page, everybody else JSON.
    """
    composition: StatusComposition = request.app.state.status
    status = await composition.read()
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    if not prefers_html(request.headers.get("accept", "*/*")):
        return JsonResponse(status.model_dump(mode="json"), headers=headers)
    page: StatusPage = request.app.state.status_page
    headers["Content-Security-Policy"] = page.content_security_policy
    return Response(page.render(status), media_type="text/html", headers=headers)


@router.get("/openapi.json", include_in_schema=False)
@public
async def read_openapi(request: Request) -> Response:
    """Serve the document of the whole platform."""
    document: MergedDocument = request.app.state.merged_document
    content, etag = await document.read()
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if if_none_match_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/json", headers=headers)


@router.get("/docs", include_in_schema=False)
@public
async def read_docs() -> Response:
    """Serve the documentation page; it works without any other server."""
    headers = {"Content-Security-Policy": _DOCS_POLICY, "Cache-Control": "no-cache"}
    return Response(_asset("docs.html"), media_type="text/html; charset=utf-8", headers=headers)


@router.get("/docs/{name}", include_in_schema=False)
@public
async def read_docs_asset(name: str) -> Response:
    """Serve the page's style and script."""
    media_type = _ASSETS.get(name)
    if media_type is None:
        raise RouteNotFoundError("There is nothing at this path.")
    return Response(_asset(name), media_type=media_type, headers={"Cache-Control": "no-cache"})


def _asset(name: str) -> bytes:
    return files("undercroft.gateway").joinpath("assets", name).read_bytes()
