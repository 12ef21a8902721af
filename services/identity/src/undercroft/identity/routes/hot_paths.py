"""What the gateway asks for each new credential, and who is signed in, answered before FastAPI (decision 11)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from fastapi import Request, Response
from starlette.types import Message, Receive
from starlette.types import Scope as Connection
from typing_extensions import override

from undercroft.identity.dependencies.access import access_service
from undercroft.identity.dependencies.accounts import person, profile_service
from undercroft.identity.dependencies.api_keys import verification_service
from undercroft.identity.schemas.access import AccessQuestion
from undercroft.identity.schemas.api_keys import SecretToVerify
from undercroft.identity.schemas.users import MeRead
from undercroft.shared.app import render_error
from undercroft.shared.auth import Requires, Scope, require_service
from undercroft.shared.door import Door, headers_once, receive_body
from undercroft.shared.errors import InternalError, ServiceError
from undercroft.shared.preconditions import etag_for
from undercroft.shared.serialization import WireModel

_JSON: Final = "application/json"
_READ: Final = frozenset({b"content-type", b"idempotency-key"})
_MAX_BODY_BYTES: Final = 16 * 1024

Answer = Callable[[Request, bytes], Awaitable[Response]]


class HotPaths(Door):
    """The application, with plain questions answered to `/internal/api-keys/verify`, `/internal/access` and `/v1/me`."""

    @override
    def template_of(self, scope: Connection) -> str | None:
        place = scope["method"], scope["path"]
        return place[1] if place in _ANSWERS and not scope["query_string"] else None

    @override
    async def try_to_answer(
        self, scope: Connection, receive: Receive, taken: list[Message]
    ) -> Response | None:
        body = b"" if scope["method"] == "GET" else await _question(scope, receive, taken)
        if body is None:
            return None
        request = Request(scope, receive)
        try:
            return await _ANSWERS[scope["method"], scope["path"]](request, body)
        except ServiceError as error:
            return render_error(request, error) if error.status < InternalError.status else None
        except Exception:  # noqa: BLE001  whatever it is, the routes come upon it too, and render it
            return None


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


async def _question(scope: Connection, receive: Receive, taken: list[Message]) -> bytes | None:
    """Return the body of a plain question: JSON, without a key that asks for its answer to be stored."""
    headers = headers_once(scope, _READ)
    if headers is None or b"idempotency-key" in headers:
        return None
    if not headers.get(b"content-type", b"").startswith(_JSON.encode()):
        return None
    return await receive_body(receive, taken, at_most=_MAX_BODY_BYTES)
