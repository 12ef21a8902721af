"""Telling people about themselves; it reads one row and writes nothing."""

from uuid import UUID

from undercroft.identity.errors.accounts import UserNotFoundError
from undercroft.identity.repository.profiles import Profile, ProfileRepository


class ProfileService:
    """The use case behind `GET /v1/me`."""

    def __init__(self, profiles: ProfileRepository) -> None:
        self._profiles = profiles

    async def read(self, user_id: UUID) -> Profile:
        """Return somebody's profile; raises `UserNotFoundError`."""
        profile = await self._profiles.find(user_id)
        if profile is None:
            raise UserNotFoundError("There is no such user.")
        return profile
