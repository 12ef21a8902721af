"""What the gateway asks for each new credential, past FastAPI's routing and validation.

Anything but the usual question goes on to the route, which stays the description and refuses it.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from undercroft.identity.dependencies.access import access_service
from undercroft.identity.dependencies.api_keys import verification_service
from undercroft.identity.routes import internal
from undercroft.identity.schemas.access import AccessQuestion
from undercroft.identity.schemas.api_keys import SecretToVerify
from undercroft.shared.app import render_error
from undercroft.shared.auth import require_service
from undercroft.shared.errors import ServiceError
from undercroft.shared.serialization import WireModel

_JSON: Final = "application/json"

Answer = Callable[[Request, bytes], Awaitable[WireModel]]


class HotPaths:
    """Middleware for `/internal/api-keys/verify` and `/internal/access`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        routes = {route.path: route for route in internal.router.routes if isinstance(route, APIRoute)}
        self._ways = {path: (routes[path], answer) for path, answer in _ANSWERS.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the usual question; pass on anything else."""
        way = self._ways.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if way is None or not _is_plain(scope):
            await self._app(scope, receive, send)
            return
        first = await receive()
        if first["type"] != "http.request" or first.get("more_body", False):
            await self._app(scope, _again(first, receive), send)
            return
        route, answer = way
        request = Request(scope, _again(first, receive))
        try:
            await require_service(request)
            read = await answer(request, first.get("body", b""))
            response = Response(read.model_dump_json(by_alias=True), media_type=_JSON)
        except ValidationError:
            await self._app(scope, _again(first, receive), send)
            return
        except ServiceError as error:
            response = render_error(request, error)
        scope["route"] = route  # what metrics and the access log name
        await response(scope, receive, send)


async def _verify(request: Request, body: bytes) -> WireModel:
    question = SecretToVerify.model_validate_json(body)
    return await (await verification_service(request)).verify(question.secret)


async def _access(request: Request, body: bytes) -> WireModel:
    return await (await access_service(request)).find(AccessQuestion.model_validate_json(body))


_ANSWERS: Final[Mapping[str, Answer]] = {"/internal/api-keys/verify": _verify, "/internal/access": _access}


def _is_plain(scope: Mapping[str, Any]) -> bool:  # ASGI's own shapes
    """Tell whether a request is plain JSON, without a key that asks for its answer to be stored."""
    headers = dict(scope["headers"])
    return headers.get(b"content-type", b"").startswith(_JSON.encode()) and b"idempotency-key" not in headers


def _again(first: Message, receive: Receive) -> Receive:
    messages = [first]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
