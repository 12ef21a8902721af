"""Rows of people."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.errors.accounts import EmailTakenError, UserNotFoundError
from undercroft.identity.models.users import User
from undercroft.identity.repository.conflicts import violated_constraint
from undercroft.shared.pagination import Page, PageParams

_EMAIL = "uq_users_email_key"


class UserRepository:
    """Reads and writes users in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, user_id: UUID) -> User:
        """Return a user; raises `UserNotFoundError`."""
        return self._found(await self._session.scalar(select(User).where(User.id == user_id)))

    async def get_locked(self, user_id: UUID) -> User:
        """Return a user whom nobody else changes until this transaction ends."""
        statement = select(User).where(User.id == user_id).with_for_update()
        return self._found(
            await self._session.scalar(statement, execution_options={"populate_existing": True})
        )

    async def find_by_email(self, email_key: str) -> User | None:
        """Return who has an address."""
        return await self._session.scalar(select(User).where(User.email_key == email_key))

    async def list(self, page: PageParams, *, email_key: str | None = None) -> Page[User]:
        """Return a page of all users, oldest first, or whoever has an address."""
        statement = select(User)
        if email_key is not None:
            statement = statement.where(User.email_key == email_key)
        return await page.fetch(self._session, statement, User.id)

    async def add(self, user: User) -> None:
        """Insert a user; raises `EmailTakenError`."""
        self._session.add(user)
        await self.save()

    async def save(self) -> None:
        """Write what was changed about loaded users; raises `EmailTakenError`."""
        try:
            await self._session.flush()
        except IntegrityError as error:
            if violated_constraint(error) != _EMAIL:
                raise
            raise EmailTakenError("Another account has this address.") from error

    async def remove(self, user: User) -> None:
        """Delete a user and everything that belongs to them."""
        await self._session.delete(user)
        await self._session.flush()

    @staticmethod
    def _found(user: User | None) -> User:
        if user is None:
            raise UserNotFoundError("There is no such user.")
        return user
