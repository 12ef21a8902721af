"""The services behind the gateway, as small as the gateway can tell."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from gateway.tests.factories import GRANT, ORGANIZATION, USER, TokenIssuer
from starlette.types import Receive, Scope, Send

from undercroft.shared.errors import NotFoundError, problem_body
from undercroft.shared.ids import TypeId, new_uuid7
from undercroft.shared.tokens import mint_token


def refusal(code: str) -> Response:
    content = problem_body(NotFoundError("No.", code=code), instance=None, request_id=None)
    return Response(content, 404, media_type="application/problem+json")


class FakeIdentity:
    """Verifies the keys it issued, tells what tokens are worth, and what happened to either.

    `access` has what a subject may do, by the organization that is asked about (None: whichever it is by itself).
    Whatever else it is asked, it answers with what it was sent: see `echo`.
    """

    def __init__(self) -> None:
        self.issuer = TokenIssuer()
        self.echo = EchoService()
        self.keys: dict[str, dict[str, object]] = {}
        member = self.allow("flags:evaluate", "flags:read", "identity:read")
        self.access: dict[tuple[str, str | None], dict[str, object]] = {(USER, str(ORGANIZATION)): member}
        self.questions: list[dict[str, object]] = []
        self.key_set_fetches = 0
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

    def allow(self, *scopes: str, **properties: object) -> dict[str, object]:
        """Make an answer about access; properties replace its own."""
        return {
            "kind": "user",
            "organizationId": str(ORGANIZATION),
            "scopes": list(scopes),
            "environment": None,
            "allowedCidrs": [],
            **properties,
        }

    def end_access(self) -> None:
        """Revoke the grant of every token and tell."""
        self.access.clear()
        self.publish("grant.revoked", GRANT)

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
        app.post("/internal/api-keys/verify")(self._verify)
        app.post("/internal/access")(self._look_up)
        app.get("/.well-known/jwks.json", include_in_schema=False)(self._key_set)
        app.get("/internal/events")(self._events)

        @app.get("/v1/organizations", tags=["organizations"])
        async def list_organizations() -> dict[str, list[str]]:
            """List organizations."""
            return {"items": []}

        @app.get("/readyz")
        async def readyz() -> dict[str, object]:
            check = {"status": "pass", "observedValue": 0.4, "observedUnit": "ms"}
            return {"status": "pass", "checks": {"database": [check]}}

        app.mount("/", self.echo)
        return app

    async def _verify(self, request: Request) -> Response:
        self.verifications += 1
        if self.is_away:
            raise RuntimeError("away")
        known = self.keys.get((await request.json())["secret"])
        await self.answer_slowly.wait()
        if known is None:
            return refusal("api_key_invalid")
        return Response(json.dumps(known), media_type="application/json")

    async def _look_up(self, request: Request) -> Response:
        question = await request.json()
        self.questions.append(question)
        if self.is_away:
            raise RuntimeError("away")
        known = self.access.get((question["subject"], question.get("organizationId")))
        await self.answer_slowly.wait()
        if known is None:
            is_known = any(subject == question["subject"] for subject, _ in self.access)
            return refusal("organization_not_found" if is_known else "access_ended")
        return Response(json.dumps(known), media_type="application/json")

    async def _key_set(self) -> Response:
        self.key_set_fetches += 1
        if self.is_away:
            raise RuntimeError("away")
        return Response(self.issuer.key_set(), media_type="application/json")

    async def _events(self, after: str, wait: float) -> dict[str, object]:
        if after == "tail":
            self.is_followed.set()
            return {"items": [], "nextCursor": str(len(self.events))}
        if len(self.events) <= int(after) and wait:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 30)
        return {"items": self.events[int(after) :], "nextCursor": str(len(self.events))}


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
