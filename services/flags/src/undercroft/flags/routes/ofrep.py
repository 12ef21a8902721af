"""OpenFeature Remote Evaluation Protocol 0.3.0. Its 400, 404 and 500 bodies are OFREP's own, never problem objects."""

import json
from collections.abc import Awaitable, Callable
from typing import Final, cast

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from undercroft.flags.dependencies import EvaluatorDep, announcer, evaluation_service
from undercroft.flags.errors import EvaluationError, EvaluationErrorCode
from undercroft.flags.routes.ofrep_openapi import BULK_OPENAPI, SINGLE_OPENAPI
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.service.announcements import Announcer
from undercroft.flags.service.evaluation import EvaluationService
from undercroft.shared.app import render_error
from undercroft.shared.auth import Principal, Requires
from undercroft.shared.errors import PayloadTooLargeError, ServiceError, UnsupportedMediaTypeError
from undercroft.shared.logs import get_logger
from undercroft.shared.preconditions import if_none_match_matches
from undercroft.shared.serialization import dumps, loads

MAX_CONTEXT_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = MAX_CONTEXT_BYTES + 256
BULK_PATH: Final = "/ofrep/v1/evaluate/flags"
KEY_PREFIX: Final = BULK_PATH + "/"
_JSON: Final = "application/json"
# The answer depends on who asks and on the body: no cache but the caller's own may keep it.
_HEADERS: Final = ((b"cache-control", b"private, no-cache"), (b"vary", b"Authorization, X-API-Key"))
_JSON_HEADERS: Final = (*_HEADERS, (b"content-type", _JSON.encode()))

_logger = get_logger(__name__)

Endpoint = Callable[[Request, Principal], Awaitable[Response]]

router = APIRouter(tags=["ofrep"])


class EvaluationAnswer(Response):
    """An answer whose headers are ready made; Starlette's constructor takes longer than an evaluation."""

    def __init__(self, status: int, body: bytes, *, etag: str | None = None) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [*(_JSON_HEADERS if status != 304 else _HEADERS)]  # noqa: PLR2004  no content, no type
        if status != 304:  # noqa: PLR2004  RFC 9110 section 8.6: it would have to be that of the whole answer
            self.raw_headers.append((b"content-length", str(len(body)).encode()))
        if etag is not None:
            self.raw_headers.append((b"etag", etag.encode()))


@router.post(BULK_PATH, openapi_extra=BULK_OPENAPI)
async def evaluate_flags(request: Request, principal: EvaluatorDep) -> Response:
    """Evaluate all flags of the caller's environment."""
    try:
        context = await _read_context(request)
        service, environment = evaluation_service(request), requested_environment(request)
        await service.prepare(principal, environment=environment)
        return bulk_answer(
            service,
            announcer(request),
            principal,
            context,
            environment=environment,
            if_none_match=", ".join(request.headers.getlist("If-None-Match")),
        )
    except EvaluationError as error:
        return refusal(error)


@router.post(KEY_PREFIX + "{key:path}", openapi_extra=SINGLE_OPENAPI)
async def evaluate_flag(request: Request, principal: EvaluatorDep) -> Response:
    """Evaluate one flag of the caller's environment."""
    try:
        context = await _read_context(request)
        status, body = evaluation_service(request).evaluate(
            principal, _key_of(request) or "", context, environment=requested_environment(request)
        )
    except EvaluationError as error:
        return refusal(error, key=_key_of(request))
    return EvaluationAnswer(status, body)


def bulk_answer(
    service: EvaluationService,
    announcer: Announcer,
    principal: Principal,
    context: JsonObject,
    *,
    environment: str | None,
    if_none_match: str,
) -> "EvaluationAnswer":
    """Evaluate all flags into the answer, 304 where the client has it; raises `EvaluationError`."""
    answer = service.evaluate_all(principal, context, environment=environment)
    announced = announcer.announce(principal, answer.snapshot.key)
    etags = (
        [answer.etag] if announced is None else [f'{answer.etag[:-1]}.{mark}"' for mark in announced.marks]
    )
    if if_none_match:
        for etag in etags:
            if if_none_match_matches(if_none_match, etag):
                return EvaluationAnswer(304, b"", etag=etag)
    body = answer.body
    if announced is not None:
        body = announced.extend(body, version=answer.snapshot.flags.version)
    return EvaluationAnswer(200, body, etag=etags[0])


class EvaluationShortcut:
    """Middleware that takes evaluations past FastAPI's routing and dependencies, which take longer than they do.

    The routes above stay the description: their endpoints are called, after the guard that they declare.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._bulk, self._single = (_Way(route) for route in router.routes if isinstance(route, APIRoute))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an evaluation; pass on anything else."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith(BULK_PATH):
            await self._app(scope, receive, send)
        elif scope["path"] in {BULK_PATH, KEY_PREFIX}:
            await self._bulk.answer(Request(scope, receive), send)
        elif scope["path"].startswith(KEY_PREFIX):
            await self._single.answer(Request(scope, receive), send)
        else:
            await self._app(scope, receive, send)


class _Way:
    """One route's guard and endpoint, called without anything between them."""

    def __init__(self, route: APIRoute) -> None:
        guards = (dependant.call for dependant in route.dependant.dependencies)
        self._requires = next(guard for guard in guards if isinstance(guard, Requires))
        self._endpoint: Endpoint = route.endpoint
        self._route = route

    async def answer(self, request: Request, send: Send) -> None:
        request.scope["route"] = self._route  # what metrics and the access log name
        try:
            response = await self._endpoint(request, await self._requires(request))
        except ServiceError as error:
            response = render_error(request, error)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  clients index OFREP's members even in a 500
            response = _crash(error, key=_key_of(request))
        await response(request.scope, request.receive, send)


async def _read_context(request: Request) -> JsonObject:
    """Read the evaluation context; absent, it is empty, as some clients send it.

    Raises `EvaluationError`, `PayloadTooLargeError` and `UnsupportedMediaTypeError`.
    """
    media_type = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if media_type != _JSON and not media_type.endswith("+json"):
        raise UnsupportedMediaTypeError("The body must be application/json.", headers={"Accept": _JSON})
    return parse_context(await _read_body(request))


def parse_context(body: bytes) -> JsonObject:
    """Parse the body of a request into its evaluation context; raises `EvaluationError`."""
    try:
        content = loads(body) if body else {}
    except json.JSONDecodeError as error:
        raise EvaluationError(EvaluationErrorCode.PARSE_ERROR, "The body is not valid JSON.") from error
    context = content.get("context", {}) if isinstance(content, dict) else None
    if not isinstance(context, dict):
        raise EvaluationError(
            EvaluationErrorCode.INVALID_CONTEXT, "The body must be an object, and its `context` too."
        )
    if not isinstance(context.get("targetingKey", ""), str):
        raise EvaluationError(EvaluationErrorCode.INVALID_CONTEXT, "`targetingKey` must be a string.")
    return context


async def _read_body(request: Request) -> bytes:
    body = b""
    while True:
        message = await _receive(request)
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += cast("bytes", message.get("body", b""))
        if len(body) > MAX_BODY_BYTES:
            raise PayloadTooLargeError(f"A context has at most {MAX_CONTEXT_BYTES} bytes.")
        if not message.get("more_body", False):
            return body


async def _receive(request: Request) -> Message:
    try:
        return await request.receive()
    except HTTPException as error:  # from the limit that holds for every body
        raise PayloadTooLargeError(f"A context has at most {MAX_CONTEXT_BYTES} bytes.") from error


def _key_of(request: Request) -> str | None:
    """Return the key in the path, percent-decoded once by the server; None for a bulk evaluation."""
    return str(request.scope["path"])[len(KEY_PREFIX) :] or None


def requested_environment(request: Request) -> str | None:
    """Return the environment that the query asks for; raises `EvaluationError` when it asks for two."""
    if not request.scope["query_string"]:
        return None
    values = request.query_params.getlist("environment")
    if len(values) > 1:
        raise EvaluationError(EvaluationErrorCode.GENERAL, "`environment` was sent more than once.")
    return values[0] if values else None


def refusal(error: EvaluationError, *, key: str | None = None) -> Response:
    """Answer with OFREP's body of a request that cannot be evaluated."""
    return _failure(400, error.code, error.details, key=key)


def _crash(error: Exception, *, key: str | None) -> Response:
    _logger.error("evaluation crashed", exc_info=error)
    return _failure(500, EvaluationErrorCode.GENERAL, "Something went wrong on our side.", key=key)


def _failure(status: int, code: EvaluationErrorCode, details: str, *, key: str | None) -> Response:
    about = {} if key is None else {"key": key}
    return EvaluationAnswer(status, dumps({**about, "errorCode": code, "errorDetails": details}))
