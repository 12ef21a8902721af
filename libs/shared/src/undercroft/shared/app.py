"""The application of a deployable: context, errors, health, metrics and route class installed in one place."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from undercroft.shared.auth import PrincipalKeys, PrincipalSigner, PrincipalVerifier, public
from undercroft.shared.errors import (
    PROBLEM_MEDIA_TYPE,
    BadRequestError,
    FieldProblem,
    InternalError,
    MethodNotAllowedError,
    NotFoundError,
    NotImplementedMethodError,
    PayloadTooLargeError,
    ServiceError,
    UnprocessableError,
    error_for_status,
    problem_response,
)
from undercroft.shared.health import health_router
from undercroft.shared.logs import get_logger
from undercroft.shared.openapi import OpenApiContent, openapi_router
from undercroft.shared.request_context import RequestContextMiddleware
from undercroft.shared.settings import ServiceSettings
from undercroft.shared.telemetry import Telemetry, configure_telemetry

MAX_BODY_BYTES: Final = 1024 * 1024
VERSION: Final = "0.1.0"

_ACRONYMS = {"api": "API"}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROMETHEUS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FIELD_PROBLEMS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["pointer", "detail", "code"],
        "properties": {
            "pointer": {"type": "string", "examples": ["#/name"]},
            "detail": {"type": "string"},
            "code": {"type": "string"},
        },
    },
}


def _problem_answer(description: str, code: str, **members: object) -> dict[str, Any]:  # FastAPI's own type
    properties: dict[str, object] = {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "examples": [code]},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "requestId": {"type": "string"},
        **members,
    }
    schema = {"type": "object", "required": ["type", "title", "status", "code"], "properties": properties}
    return {"description": description, "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}}}


_PROBLEM = _problem_answer("A problem (RFC 9457).", "not_found")
_REFUSED = _problem_answer(
    "Refused; `errors` says where and why.", "validation_failed", errors=_FIELD_PROBLEMS
)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_logger = get_logger(__name__)


def create_service_app(
    settings: ServiceSettings,
    *,
    description: str,
    routers: Sequence[APIRouter],
    lifespan: Lifespan,
    max_body_bytes: int = MAX_BODY_BYTES,
    application_class: type[FastAPI] = FastAPI,
) -> FastAPI:
    """Build a deployable's application; nothing is opened before its lifespan is entered.

    `lifespan` opens the deployable's resources and puts them on `app.state`; it may append to
    `app.state.readiness_checks`. Bodies beyond `max_body_bytes` are answered 413 before they are read.
    """
    app = application_class(
        title=f"Undercroft {settings.service_name}",
        description=description,
        version=VERSION,
        lifespan=_around(lifespan),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={422: _REFUSED, "default": _PROBLEM},
        # Ours is in `telemetry`; asking each time whether FastAPI's own is wanted takes longer than to measure.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        separate_input_output_schemas=True,
        generate_unique_id_function=_operation_id,
    )
    _install_state(app, settings)
    app.add_middleware(
        RequestContextMiddleware,
        telemetry=app.state.telemetry,
        access_log=settings.access_log,
        max_body_bytes=max_body_bytes,
    )
    app.add_exception_handler(ServiceError, _render_service_error)
    app.add_exception_handler(RequestValidationError, _render_validation_error)
    app.add_exception_handler(HTTPException, _render_http_exception)
    for router in (health_router(), _metrics_router(), *routers, openapi_router()):
        app.include_router(router)
    for route in iter_routes(app):
        route.summary = route.summary or _summary_of(route.name)
    return app


def _install_state(app: FastAPI, settings: ServiceSettings) -> None:
    keys = PrincipalKeys(settings.principal_keys)
    app.state.settings = settings
    app.state.service_name = settings.service_name
    app.state.principal_verifier = PrincipalVerifier(settings.service_name, keys)
    app.state.principal_signer = PrincipalSigner(settings.service_name, keys)
    app.state.readiness_checks = []
    app.state.is_draining = False
    app.state.openapi_content = OpenApiContent(app)
    app.state.telemetry = configure_telemetry(
        service_name=settings.service_name, service_version=VERSION, otlp_endpoint=settings.otlp_endpoint
    )


def _operation_id(route: APIRoute) -> str:
    """Return the route's name, from which clients make the names of their methods: a moved path keeps it."""
    return route.name


def _summary_of(name: str) -> str:
    """Turn `list_api_keys` into "List API keys"."""
    first, *others = (_ACRONYMS.get(word, word) for word in name.split("_"))
    return " ".join((first[:1].upper() + first[1:], *others))


def _around(lifespan: Lifespan) -> Lifespan:
    @asynccontextmanager
    async def whole(app: FastAPI) -> AsyncIterator[None]:
        app.state.is_draining = False
        try:
            async with lifespan(app):
                yield
                app.state.is_draining = True
        finally:
            # It may wait for a collector that is away; the applications of one process wait at the same time.
            await asyncio.to_thread(app.state.telemetry.shutdown)

    return whole


def _metrics_router() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/metrics")
    @public
    async def metrics(request: Request) -> Response:
        """Expose the metrics in Prometheus' text format."""
        telemetry: Telemetry = request.app.state.telemetry
        return Response(telemetry.prometheus_text(), media_type=_PROMETHEUS_MEDIA_TYPE)

    return router


def render_error(request: Request, error: ServiceError) -> Response:
    """Render an error for a request, logging it once when it is the server's fault."""
    if error.status >= InternalError.status:
        _logger.error("request failed", code=error.code, status=error.status, exc_info=error)
    return problem_response(
        error, instance=request.url.path, request_id=request.scope.get("undercroft.request_id")
    )


async def _render_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101  registered for this type only
    return render_error(request, error)


async def _render_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for this type only
    details = error.errors()
    if any(each["type"] == "json_invalid" for each in details):
        return render_error(request, BadRequestError("The body is not valid JSON.", code="malformed_json"))
    problems = [
        FieldProblem(pointer=_pointer(each["loc"]), detail=str(each["msg"]), code=str(each["type"]))
        for each in details
    ]
    return render_error(request, UnprocessableError(problems=problems))


def _pointer(location: Sequence[object]) -> str:
    """Turn a Pydantic location into a JSON pointer; parameters are shown as `#/query/limit`."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in location]
    if parts and parts[0] == "body":
        parts = parts[1:]
    return "#" + "".join(f"/{part}" for part in parts)


async def _render_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for this type only
    if error.status_code == MethodNotAllowedError.status:
        allow = _allowed_methods(request)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allow})
        if request.method in _METHODS:
            detail = f"{request.method} is not offered here."
            return render_error(request, MethodNotAllowedError(detail, headers={"Allow": allow}))
        return render_error(
            request, NotImplementedMethodError(f"The method {request.method[:20]} is not known.")
        )
    return render_error(request, _translate(error))


def _translate(error: HTTPException) -> ServiceError:
    match error.status_code:
        case NotFoundError.status:
            return NotFoundError("There is nothing at this path.")
        case PayloadTooLargeError.status:
            return PayloadTooLargeError("The body is too large.")
        case status:
            return error_for_status(status, str(error.detail))


def _allowed_methods(request: Request) -> str:
    """List the methods of every route at this path (RFC 9110 section 10.2.1)."""
    names = {"OPTIONS"}
    for route in iter_routes(request.app):
        if route.path_regex.match(request.url.path):
            names |= route.methods or set()
    if "GET" in names:
        names.add("HEAD")
    return ", ".join(sorted(names))


def iter_routes(app: FastAPI) -> Iterator[APIRoute]:
    """Yield every API route of an application, those of included routers too."""
    pending = list(app.routes)
    while pending:
        route = pending.pop(0)
        if isinstance(route, APIRoute):
            yield route
        else:
            # FastAPI keeps an included router as one entry that refers to it.
            pending.extend(getattr(getattr(route, "original_router", None), "routes", ()))
