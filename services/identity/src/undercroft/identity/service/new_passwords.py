"""Choosing a password: refused with reasons, then hashed."""

from undercroft.identity.domain.passwords import find_problem, normalise_password
from undercroft.identity.errors.payload import refused_member
from undercroft.identity.service.password_hashing import PasswordHasher


class NewPasswords:
    """Judges and hashes new passwords."""

    def __init__(self, hasher: PasswordHasher, *, min_length: int) -> None:
        self._hasher = hasher
        self._min_length = min_length

    def judge(self, password: str, *personal: str, member: str = "password") -> None:
        """Raise `UnprocessableError` about a member of the body unless the password is good."""
        problem = find_problem(normalise_password(password), min_length=self._min_length, personal=personal)
        if problem is not None:
            raise refused_member(f"#/{member}", problem.detail, problem.code)

    async def hash(self, password: str) -> str:
        """Hash a password that was judged; raises `HashingBusyError`."""
        return await self._hasher.hash(password)
