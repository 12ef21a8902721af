"""Rows of the authorization server that nobody needs any more."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from undercroft.identity.models.oauth import AuthorizationCode, DeviceCode, PushedRequest, RevokedToken
from undercroft.identity.models.sessions import Grant, RefreshToken

_BATCH: Final = 1_000
# A second use of a code is noticed for so long after it has expired.
_CODES_KEPT: Final = timedelta(minutes=10)
_DEVICES_KEPT: Final = timedelta(minutes=10)


async def prune_oauth(session: AsyncSession, *, now: datetime) -> int:
    """Delete bounded batches of expired rows; returns how many went."""
    rules: tuple[tuple[InstrumentedAttribute[Any], ColumnElement[bool]], ...] = (
        (AuthorizationCode.code_hash, AuthorizationCode.expires_at < now - _CODES_KEPT),
        (DeviceCode.device_code_hash, DeviceCode.expires_at < now - _DEVICES_KEPT),
        (PushedRequest.uri_hash, PushedRequest.expires_at < now),
        (RevokedToken.jti, RevokedToken.expires_at < now),
        # A used token stays until it would have expired: presenting it again ends the grant.
        (RefreshToken.token_hash, RefreshToken.expires_at < now),
        (Grant.id, Grant.expires_at < now),
    )
    pruned = 0
    for key, is_over in rules:
        doomed = select(key).where(is_over).limit(_BATCH).with_for_update(skip_locked=True)
        statement = delete(key.class_).where(key.in_(doomed)).returning(key)
        rows = await session.execute(statement, execution_options={"synchronize_session": False})
        pruned += len(rows.all())
    return pruned
