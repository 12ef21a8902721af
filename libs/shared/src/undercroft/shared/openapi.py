"""A deployable's OpenAPI document, which costs a large one most of a second to make: made once, beside the event loop."""

import asyncio

from fastapi import APIRouter, FastAPI, Request, Response

from undercroft.shared.auth import public
from undercroft.shared.serialization import dumps


class OpenApiContent:
    """The document as JSON; nobody else waits while it is made, and nobody makes it twice."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._lock = asyncio.Lock()
        self._content: bytes | None = None

    async def read(self) -> bytes:
        """Return it, making it at the first call."""
        async with self._lock:
            if self._content is None:
                self._content = await asyncio.to_thread(self._make)
        return self._content

    def _make(self) -> bytes:
        return dumps(self._app.openapi())


def openapi_router() -> APIRouter:
    """Serve `/openapi.json`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    @public
    async def read_openapi(request: Request) -> Response:
        """Return the description of this deployable (OpenAPI 3.1)."""
        content: OpenApiContent = request.app.state.openapi_content
        return Response(await content.read(), media_type="application/json")

    return router
