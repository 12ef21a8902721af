"""The services behind the gateway, as small as the gateway can tell."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request, Response
from starlette.types import Receive, Scope, Send

from undercroft.shared.errors import NotFoundError, problem_body
from undercroft.shared.ids import TypeId, new_uuid7
from undercroft.shared.tokens import mint_token

ORGANIZATION = TypeId("org", UUID("01890000-0000-7000-8000-000000000001"))


class FakeIdentity:
    """Verifies the keys it issued and tells what happened to them."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, object]] = {}
        self.events: list[dict[str, object]] = []
        self.verifications = 0
        self.is_followed = asyncio.Event()
        self.is_away = False
        self.answer_slowly = asyncio.Event()
        self.answer_slowly.set()
        self._changed = asyncio.Event()
        self.app = self._build()

    def issue(self, *scopes: str, **properties: object) -> str:
        """Make a key; properties replace those of identity's answer."""
        token = mint_token("live", new_uuid7())
        kind = "operator" if "operator" in scopes else "api_key"
        self.keys[token.text] = {
            "keyId": str(TypeId("key", token.id)),
            "organizationId": None if kind == "operator" else str(ORGANIZATION),
            "scopes": list(scopes),
            "environment": None,
            "expiresAt": None,
            "kind": kind,
            "plan": None,
            "allowedCidrs": [],
            **properties,
        }
        return token.text

    def publish(self, event_type: str, subject: str) -> None:
        """Tell followers that something happened."""
        self.events.append(
            {
                "id": f"evt_{len(self.events)}",
                "source": "/identity",
                "type": f"dev.undercroft.{event_type}",
                "subject": subject,
                "time": "2026-11-23T00:00:00Z",
                "organizationid": str(ORGANIZATION),
                "data": {},
            }
        )
        self._changed.set()

    def revoke(self, key: str) -> None:
        """Take a key back and tell."""
        known = self.keys.pop(key)
        self.publish("api_key.revoked", str(known["keyId"]))

    def _build(self) -> FastAPI:
        app = FastAPI(title="identity")

        @app.post("/internal/api-keys/verify")
        async def verify(request: Request) -> Response:
            self.verifications += 1
            if self.is_away:
                raise RuntimeError("away")
            known = self.keys.get((await request.json())["secret"])
            await self.answer_slowly.wait()
            if known is None:
                error = NotFoundError("No such key.", code="api_key_invalid")
                content = problem_body(error, instance=None, request_id=None)
                return Response(content, 404, media_type="application/problem+json")
            return Response(json.dumps(known), media_type="application/json")

        @app.get("/internal/events")
        async def events(after: str, wait: float) -> dict[str, object]:
            if after == "tail":
                self.is_followed.set()
                return {"items": [], "nextCursor": str(len(self.events))}
            if len(self.events) <= int(after) and wait:
                self._changed.clear()
                await asyncio.wait_for(self._changed.wait(), 30)
            return {"items": self.events[int(after) :], "nextCursor": str(len(self.events))}

        @app.get("/v1/organizations", tags=["organizations"])
        async def list_organizations() -> dict[str, list[str]]:
            """List organizations."""
            return {"items": []}

        @app.get("/readyz")
        async def readyz() -> dict[str, object]:
            check = {"status": "pass", "observedValue": 0.4, "observedUnit": "ms"}
            return {"status": "pass", "checks": {"database": [check]}}

        return app


class EchoService:
    """Answers with what it was sent; `reply` is replaced by tests that want something else."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.reply: Callable[[Scope, Send], Awaitable[None]] = succeed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        seen = {
            "method": scope["method"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [(name.decode(), value.decode()) for name, value in scope["headers"]],
            "body": body,
        }
        self.requests.append(seen)
        await self.reply(scope, send)

    def header(self, name: str) -> str | None:
        """Return a header of the last request."""
        headers: list[tuple[str, str]] = self.requests[-1]["headers"]
        return dict(headers).get(name)


async def succeed(scope: Scope, send: Send) -> None:
    content = b'{"ok":true}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
