"""What the gateway asks for each new credential, and who is signed in, past FastAPI's routing and validation.

Anything but the usual question goes on to the route, which stays the description and refuses it.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from undercroft.identity.dependencies.access import access_service
from undercroft.identity.dependencies.accounts import person, profile_service
from undercroft.identity.dependencies.api_keys import verification_service
from undercroft.identity.routes import internal, me
from undercroft.identity.schemas.access import AccessQuestion
from undercroft.identity.schemas.api_keys import SecretToVerify
from undercroft.identity.schemas.users import MeRead
from undercroft.shared.app import render_error
from undercroft.shared.auth import Requires, Scope, require_service
from undercroft.shared.errors import ServiceError
from undercroft.shared.preconditions import etag_for
from undercroft.shared.serialization import WireModel

_JSON: Final = "application/json"
_NO_BODY: Final[Message] = {"type": "http.request"}

Answer = Callable[[Request, bytes], Awaitable[Response]]


class HotPaths:
    """Middleware for `/internal/api-keys/verify`, `/internal/access` and the reading of `/v1/me`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        routes = {
            (method, route.path): route
            for route in (*internal.router.routes, *me.router.routes)
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        }
        self._ways = {place: (routes[place], answer) for place, answer in _ANSWERS.items()}

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer the usual question; pass on anything else."""
        way = self._ways.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if way is None:
            await self._app(scope, receive, send)
            return
        first = _NO_BODY
        if scope["method"] == "POST":
            if not _is_plain(scope):
                await self._app(scope, receive, send)
                return
            first = await receive()
            receive = _again(first, receive)
            if first["type"] != "http.request" or first.get("more_body", False):
                await self._app(scope, receive, send)
                return
        route, answer = way
        request = Request(scope, receive)
        try:
            response = await answer(request, first.get("body", b""))
        except ValidationError:
            await self._app(scope, receive, send)
            return
        except ServiceError as error:
            response = render_error(request, error)
        scope["route"] = route  # what metrics and the access log name
        await response(scope, receive, send)


async def _verify(request: Request, body: bytes) -> Response:
    await require_service(request)
    question = SecretToVerify.model_validate_json(body)
    return _json(await (await verification_service(request)).verify(question.secret))


async def _access(request: Request, body: bytes) -> Response:
    await require_service(request)
    question = AccessQuestion.model_validate_json(body)
    return _json(await (await access_service(request)).find(question))


async def _me(request: Request, _: bytes) -> Response:
    account = await person(await _account(request))
    profile = await (await profile_service(request)).read(account.user_id)
    return _json(MeRead.model_validate(profile), headers={"ETag": etag_for(profile.revision)})


def _json(read: WireModel, *, headers: Mapping[str, str] | None = None) -> Response:
    return Response(read.model_dump_json(by_alias=True), headers=headers, media_type=_JSON)


_account: Final = Requires(Scope.ACCOUNT)
_ANSWERS: Final[Mapping[tuple[str, str], Answer]] = {
    ("POST", "/internal/api-keys/verify"): _verify,
    ("POST", "/internal/access"): _access,
    ("GET", "/v1/me"): _me,
}


def _is_plain(scope: Mapping[str, Any]) -> bool:  # ASGI's own shapes
    """Tell whether a request is plain JSON, without a key that asks for its answer to be stored."""
    headers = dict(scope["headers"])
    return headers.get(b"content-type", b"").startswith(_JSON.encode()) and b"idempotency-key" not in headers


def _again(first: Message, receive: Receive) -> Receive:
    messages = [first]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
