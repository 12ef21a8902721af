"""What use cases ask of the counting of attempts; how it is stored is no business of theirs."""

from typing import Protocol

from undercroft.identity.domain.attempts import AttemptLimit


class Attempts(Protocol):
    """Counts attempts and remembers what must not be used twice."""

    async def begin(self, limit: AttemptLimit, subject: str) -> None:
        """Count one attempt; raises `TooManyAttemptsError` when it comes too early."""

    async def forgive(self, limit: AttemptLimit, subject: str) -> None:
        """Take back the last attempt: it was a good one."""

    async def forget(self, limit: AttemptLimit, subject: str) -> None:
        """Begin anew."""

    async def use_once(self, name: str, secret: str, *, life_seconds: float) -> bool:
        """Remember a use; False when it was used before."""
