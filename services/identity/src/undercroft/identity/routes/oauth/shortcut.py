"""The protocol's endpoints past FastAPI's routing: faster, and every answer as their standards have it.

The routes stay registered, as their description: OpenAPI, metrics and the walk over unguarded routes see them.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from undercroft.identity.errors.oauth import (
    AwayError,
    BodyTooLargeError,
    CrashError,
    OAuthError,
    WrongMethodError,
)
from undercroft.identity.routes.oauth import beginnings, discovery, token, tokens, userinfo
from undercroft.identity.routes.oauth.answers import refusal
from undercroft.shared.errors import UnavailableError
from undercroft.shared.logs import get_logger

Endpoint = Callable[[Request], Awaitable[Response]]

PROTOCOL: Final = (token.router, tokens.router, beginnings.router, userinfo.router, discovery.router)
# Pages come to their routes as any page does; only what a wrong method is told is the protocol's.
_PAGES: Final = {"/oauth/authorize": "GET POST", "/oauth/logout": "GET POST"}

_logger = get_logger(__name__)


class ProtocolShortcut:
    """Middleware that answers the protocol's endpoints itself, and wrong methods of its pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._ways: dict[str, dict[str, APIRoute]] = {}
        for router in PROTOCOL:
            for route in router.routes:
                if isinstance(route, APIRoute):
                    self._ways.setdefault(route.path, {}).update(dict.fromkeys(route.methods or (), route))
        self._allowed = {path: _allowed(methods) for path, methods in self._ways.items()}
        self._allowed |= {path: _allowed(methods.split()) for path, methods in _PAGES.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request to one of the endpoints; pass on anything else."""
        response = None
        if scope["type"] == "http" and scope["path"] in self._allowed:
            response = await self._answer(scope, receive)
        if response is None:
            await self._app(scope, receive, send)
        else:
            await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response | None:
        allowed, method = self._allowed[scope["path"]], scope["method"]
        if method not in allowed:
            allow = {"Allow": ", ".join(allowed)}
            return refusal(WrongMethodError("The method is not offered here.", headers=allow))
        if method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ", ".join(allowed)})
        route = self._ways.get(scope["path"], {}).get(method)
        if route is None:
            return None
        scope["route"] = route  # what metrics and the access log name
        try:
            return await _call(route.endpoint, Request(scope, receive))
        except Exception as error:
            _logger.error("endpoint crashed", exc_info=error)  # noqa: TRY400  structlog takes the exception itself
            return refusal(CrashError("Something went wrong on our side."))


async def _call(endpoint: Endpoint, request: Request) -> Response:
    try:
        return await endpoint(request)
    except OAuthError as error:
        return refusal(error)
    except UnavailableError as error:
        return refusal(AwayError("Try again in a moment.", headers=error.headers))
    except HTTPException:  # from the limit that holds for every body
        return refusal(BodyTooLargeError("The body is too long."))
    except ClientDisconnect:
        return Response(status_code=400)


def _allowed(methods: Iterable[str]) -> list[str]:
    names = {*methods, "OPTIONS"}
    return sorted(names | {"HEAD"} if "GET" in names else names)
