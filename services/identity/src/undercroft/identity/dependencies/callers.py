"""Who may call: the demands of routes, as annotations."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header

from undercroft.shared.auth import OPERATOR_SCOPE, Principal, Requires

# Every dependency is asynchronous: FastAPI hands synchronous ones to a thread, four hops on the hot path.
Reader = Annotated[Principal, Depends(Requires("identity:read"))]
Writer = Annotated[Principal, Depends(Requires("identity:write"))]
KeyKeeper = Annotated[Principal, Depends(Requires("identity:api_keys", "identity:write"))]
Operator = Annotated[Principal, Depends(Requires(OPERATOR_SCOPE))]
# A person without any organization holds no scope but `account`, and may still found one.
Founder = Annotated[Principal, Depends(Requires(OPERATOR_SCOPE, "account"))]
OwnReader = Annotated[Principal, Depends(Requires("identity:read", "account"))]
IfMatch = Annotated[str | None, Header(description="The `ETag` that the caller last saw.")]


def utc_now() -> datetime:
    """Return the moment."""
    return datetime.now(UTC)
