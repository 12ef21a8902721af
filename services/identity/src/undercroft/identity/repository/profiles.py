"""What people read about themselves: one prepared statement, no entities."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, func, select

from undercroft.identity.models.users import User
from undercroft.identity.repository.reads import Reads


class Profile(NamedTuple):
    """A person as they see themselves."""

    id: UUID
    email: str
    email_verified: bool
    name: str
    locale: str | None
    zoneinfo: str | None
    has_password: bool
    has_totp: bool
    is_disabled: bool
    recovery_codes_left: int
    revision: int
    created_at: datetime
    updated_at: datetime


_PROFILE = select(
    User.id,
    User.email,
    User.email_verified_at.is_not(None),
    User.name,
    User.locale,
    User.zoneinfo,
    User.password_hash.is_not(None),
    User.totp_enabled_at.is_not(None),
    User.disabled_at.is_not(None),
    func.cardinality(User.recovery_code_hashes),
    User.revision,
    User.created_at,
    User.updated_at,
).where(User.id == bindparam("user"))


class ProfileRepository:
    """Reads profiles."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def find(self, user_id: UUID) -> Profile | None:
        """Return a profile, None when there is no such user."""
        row = await self._reads.find(_PROFILE, {"user": user_id})
        return None if row is None else Profile._make(row)
