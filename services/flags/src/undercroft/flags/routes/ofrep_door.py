"""Ordinary evaluations, answered before FastAPI, which takes several times as long as they do (decision 11)."""

from typing import Final

from starlette.types import Message, Receive, Scope
from typing_extensions import override

from undercroft.flags.routes.ofrep import (
    BULK_PATH,
    KEY_PREFIX,
    MAX_BODY_BYTES,
    EvaluationAnswer,
    bulk_answer,
    parse_context,
)
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.service.announcements import Announcer
from undercroft.flags.service.evaluation import EvaluationService
from undercroft.shared.auth import PRINCIPAL_HEADER, Principal, PrincipalVerifier
from undercroft.shared.auth import Scope as Permission
from undercroft.shared.door import Door, headers_once, receive_body

_SINGLE_TEMPLATE: Final = KEY_PREFIX + "{key:path}"
_BULK_PATHS: Final = frozenset({BULK_PATH, KEY_PREFIX})
_PRINCIPAL: Final = PRINCIPAL_HEADER.lower().encode()
_READ: Final = frozenset({_PRINCIPAL, b"content-type", b"content-length", b"if-none-match"})
_MEDIA_TYPES: Final = frozenset({b"application/json", b"application/json; charset=utf-8"})
_MAX_DIGITS: Final = 6


class EvaluationDoor(Door):
    """The application, with evaluations answered that have one principal, no query and a body within its limit."""

    @override
    def template_of(self, scope: Scope) -> str | None:
        path: str = scope["path"]
        if not path.startswith(BULK_PATH) or scope["method"] != "POST" or scope["query_string"]:
            return None
        if path in _BULK_PATHS:
            return BULK_PATH
        return _SINGLE_TEMPLATE if path.startswith(KEY_PREFIX) else None

    @override
    async def try_to_answer(
        self, scope: Scope, receive: Receive, taken: list[Message]
    ) -> EvaluationAnswer | None:
        headers = headers_once(scope, _READ)
        if headers is None or not _is_usual(headers):
            return None
        principal = self._evaluator(headers.get(_PRINCIPAL, b""))
        if principal is None:
            return None
        body = await receive_body(receive, taken, at_most=MAX_BODY_BYTES)
        if body is None:
            return None
        service: EvaluationService = self.state.evaluation_service
        path: str = scope["path"]
        try:
            context = parse_context(body)
            if path in _BULK_PATHS:
                return self._answer_all(principal, context, headers.get(b"if-none-match", b""))
            key = path[len(KEY_PREFIX) :]
            return EvaluationAnswer(*service.evaluate(principal, key, context, environment=None))
        except Exception:  # noqa: BLE001  whatever it is, the routes come upon it too, and render it
            return None

    def _answer_all(
        self, principal: Principal, context: JsonObject, if_none_match: bytes
    ) -> EvaluationAnswer | None:
        service: EvaluationService = self.state.evaluation_service
        if not service.is_prepared(principal, environment=None):
            return None  # compiling hundreds of flags here would hold up everybody else
        announcer: Announcer = self.state.announcer
        tags = if_none_match.decode("latin-1")
        return bulk_answer(service, announcer, principal, context, environment=None, if_none_match=tags)

    def _evaluator(self, header: bytes) -> Principal | None:
        """Return the caller if it may evaluate."""
        verifier: PrincipalVerifier = self.state.principal_verifier
        try:
            principal = verifier.verify(header.decode("latin-1"))
        except Exception:  # noqa: BLE001  the routes' guard says what is wrong with it
            return None
        return principal if principal.has_scope(Permission.FLAGS_EVALUATE) else None


def _is_usual(headers: dict[bytes, bytes]) -> bool:
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > _MAX_DIGITS or int(length) > MAX_BODY_BYTES:
        return False
    return headers.get(b"content-type", b"application/json") in _MEDIA_TYPES
