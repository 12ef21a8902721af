"""Idempotency-Key on creating requests: the effect and its stored answer commit together.

Follows draft-ietf-httpapi-idempotency-key-header: the same key and request replays the answer for 24 h, the same
key with another request is 422, a duplicate while the first still runs is 409. The answer is written in the
request's own transaction, so that neither can exist without the other; it is encrypted with a key that only the
caller's Idempotency-Key completes, so that the table discloses no secret that was shown once.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import Column, DateTime, Index, LargeBinary, MetaData, Table, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import override

from undercroft.shared.auth import current_principal, is_public
from undercroft.shared.db import get_database
from undercroft.shared.errors import (
    BadRequestError,
    ConflictError,
    ServiceError,
    UnprocessableError,
    UnsupportedMediaTypeError,
    problem_response,
)
from undercroft.shared.serialization import JsonValue, dumps, loads
from undercroft.shared.settings import ServiceSettings, derive_key

IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
RETENTION: Final = timedelta(hours=24)

_KEY_PATTERN = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")
_STORED_HEADERS = ("content-type", "etag", "location", "link")
_NONCE_BYTES = 12
_PRUNE_BATCH = 1_000
_NOT_STORED_STATUSES = frozenset({401, 409, 429})
_CLIENT_ERRORS = range(400, 500)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]  # FastAPI's own signature


def idempotency_table(metadata: MetaData) -> Table:
    """Declare the table of stored answers in a service's schema."""
    return Table(
        "idempotency_keys",
        metadata,
        Column("key_hash", LargeBinary, primary_key=True),
        Column("fingerprint", LargeBinary, nullable=False),
        Column("answer", LargeBinary, nullable=False),
        Column("expires_at", DateTime(timezone=True), nullable=False),
        Index("ix_idempotency_keys_expires_at", "expires_at"),
    )


async def prune_idempotency_keys(session: AsyncSession, table: Table, *, now: datetime) -> int:
    """Delete a bounded batch of expired answers; returns how many went."""
    doomed = select(table.c.key_hash).where(table.c.expires_at < now).limit(_PRUNE_BATCH)
    result = await session.execute(
        delete(table).where(table.c.key_hash.in_(doomed)).returning(table.c.key_hash)
    )
    return len(result.all())


def normalise_key(value: str) -> str:
    """Accept the header as a structured-field String (`"abc"`) or bare (`abc`): both are the same key.

    Raises `BadRequestError` (`idempotency_key_invalid`) for an empty, longer than 255 or non-ASCII key.
    """
    key = value.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':  # noqa: PLR2004  a pair of quotes
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not _KEY_PATTERN.fullmatch(key):
        raise BadRequestError(
            "Idempotency-Key must be 1 to 255 visible ASCII characters.", code="idempotency_key_invalid"
        )
    return key


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One request that carries a key: where its answer is stored and what it asked for."""

    table: Table
    key_hash: bytes
    fingerprint: bytes
    cipher_key: bytes

    def seal(self, response: Response) -> bytes:
        kept = {name: value for name in _STORED_HEADERS if (value := response.headers.get(name)) is not None}
        head = dumps({"status": response.status_code, "headers": kept})
        nonce = hashlib.sha256(self.key_hash + self.fingerprint).digest()[:_NONCE_BYTES]
        plain = len(head).to_bytes(4, "big") + head + bytes(response.body)
        return nonce + AESGCM(self.cipher_key).encrypt(nonce, plain, self.key_hash)

    def open(self, answer: bytes) -> Response:
        plain = AESGCM(self.cipher_key).decrypt(answer[:_NONCE_BYTES], answer[_NONCE_BYTES:], self.key_hash)
        head_end = 4 + int.from_bytes(plain[:4], "big")
        head = loads(plain[4:head_end])
        response = Response(plain[head_end:])
        if isinstance(head, dict) and isinstance(headers := head["headers"], dict):
            response.status_code = int(str(head["status"]))
            response.headers.update({str(name): str(value) for name, value in headers.items()})
        response.headers["Idempotency-Replayed"] = "true"
        return response

    async def find(self, session: AsyncSession, *, now: datetime) -> Response | None:
        row = (
            await session.execute(select(self.table).where(self.table.c.key_hash == self.key_hash))
        ).one_or_none()
        if row is None:
            return None
        if row.expires_at <= now:
            await session.execute(delete(self.table).where(self.table.c.key_hash == self.key_hash))
            return None
        if not hmac.compare_digest(row.fingerprint, self.fingerprint):
            raise UnprocessableError(
                "This Idempotency-Key was used for another request.", code="idempotency_key_reused"
            )
        try:
            return self.open(row.answer)
        except (
            InvalidTag
        ):  # the deployable's secret key was changed: the answer is unreadable, the effect stands
            raise ConflictError(
                "The stored answer of this Idempotency-Key can no longer be read.",
                code="idempotency_key_unreadable",
            ) from None

    async def store(self, session: AsyncSession, response: Response, *, now: datetime) -> None:
        statement = insert(self.table).values(
            key_hash=self.key_hash,
            fingerprint=self.fingerprint,
            answer=self.seal(response),
            expires_at=now + RETENTION,
        )
        await session.execute(statement.on_conflict_do_nothing())


class StrictRequest(Request):
    """A request whose JSON is parsed strictly and fast: NaN, infinities and bad UTF-8 are refused."""

    @override
    async def json(self) -> JsonValue:
        if not hasattr(self, "_strict_json"):
            self._strict_json = loads(await self.body())
        return self._strict_json


class ServiceRoute(APIRoute):
    """The route class of every service: strict JSON bodies, and Idempotency-Key on POST.

    A public route has no caller to keep an answer for: it ignores the header. Raises `UnsupportedMediaTypeError`
    when a route with a JSON body is sent something else.
    """

    @override
    def get_route_handler(self) -> Handler:
        original = super().get_route_handler()
        wants_json = self.body_field is not None
        creates = "POST" in (self.methods or ()) and not is_public(self.endpoint)

        async def handler(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            if wants_json:
                _require_json(strict)
            keys = strict.headers.getlist(IDEMPOTENCY_HEADER)
            table: Table | None = getattr(request.app.state, "idempotency_table", None)
            if not creates or not keys or table is None:
                return await original(strict)
            if len(keys) > 1:
                raise BadRequestError("Idempotency-Key was sent twice.", code="idempotency_key_invalid")
            return await _answer_once(strict, original, await _attempt(strict, table, normalise_key(keys[0])))

        return handler


def _require_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    length = request.headers.get("content-length")
    has_body = length not in (None, "0") or "transfer-encoding" in request.headers
    if has_body and media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaTypeError(
            "The body must be application/json.", headers={"Accept": "application/json"}
        )


async def _attempt(request: Request, table: Table, key: str) -> _Attempt:
    settings: ServiceSettings = request.app.state.settings
    principal = current_principal(request)
    scope = "\n".join(
        (principal.subject, str(principal.organization_id), request.method, request.url.path, key)
    )
    body_hash = hashlib.sha256(await request.body()).hexdigest()
    fingerprint = f"{request.method}\n{request.url.path}\n{request.url.query}\n{body_hash}"
    return _Attempt(
        table=table,
        key_hash=hashlib.sha256(scope.encode()).digest(),
        fingerprint=hashlib.sha256(fingerprint.encode()).digest(),
        cipher_key=derive_key(settings.secret_key, f"idempotency:{scope}"),
    )


async def _answer_once(request: Request, original: Handler, attempt: _Attempt) -> Response:
    now = datetime.now(UTC)
    async with get_database(request).session() as session:
        # The lock lives as long as this transaction: a concurrent duplicate is told so at once.
        if not await _try_lock(session, attempt.key_hash):
            raise ConflictError(
                "A request with this Idempotency-Key is still running.", code="idempotency_key_in_use"
            )
        replay = await attempt.find(session, now=now)
        if replay is not None:
            return replay
        request.state.session = session  # get_session hands this one out and leaves the commit to us
        try:
            response = await original(request)
        except ServiceError as error:
            await session.rollback()
            await _store_refusal(request, attempt, error, session=session, now=now)
            raise
        await attempt.store(session, response, now=now)
        await session.commit()
    return response


async def _store_refusal(
    request: Request, attempt: _Attempt, error: ServiceError, *, session: AsyncSession, now: datetime
) -> None:
    if error.status not in _CLIENT_ERRORS or error.status in _NOT_STORED_STATUSES:
        return
    request_id = request.scope.get("undercroft.request_id")
    refusal = problem_response(error, instance=request.url.path, request_id=request_id)
    await attempt.store(session, refusal, now=now)
    await session.commit()


async def _try_lock(session: AsyncSession, key_hash: bytes) -> bool:
    number = int.from_bytes(key_hash[:8], "big", signed=True)
    return bool(await session.scalar(select(func.pg_try_advisory_xact_lock(number))))
