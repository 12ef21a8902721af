"""Who is signed in, where and how; and who somebody is towards this service."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Method(StrEnum):
    """Values of `amr` (RFC 8176): how somebody authenticated."""

    PASSWORD = "pwd"  # noqa: S105 - the registered name
    ONE_TIME_CODE = "otp"
    POSSESSION = "pop"
    PRESENCE = "user"
    SEVERAL_FACTORS = "mfa"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that a cookie opened."""

    user_id: UUID
    session_id: UUID
    methods: tuple[str, ...]
    authenticated_at: datetime


@dataclass(frozen=True, slots=True)
class Device:
    """Where a request comes from, as far as it tells."""

    address: str
    user_agent: str
    # Proof that this browser signed in to some account before.
    known_device: str | None = None
    # The session that is open in this browser: signing in again renews it.
    signed_in: SignedIn | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever acts on their own account: by an access token, which names its grant, or by the cookie of a page."""

    user_id: UUID
    grant_id: UUID | None = None
    signed_in: SignedIn | None = None
