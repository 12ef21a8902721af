"""The second factor: time-based codes and recovery codes, each good for one use."""

from collections.abc import Callable
from datetime import datetime

from undercroft.identity.domain.attempts import AttemptLimit
from undercroft.identity.domain.one_time_codes import matching_step, recovery_code_hash
from undercroft.identity.domain.sealing import Sealer
from undercroft.identity.models.users import User
from undercroft.identity.service.attempts import Attempts


class SecondFactors:
    """Checks codes of users whose rows are locked, so that of two uses at once only one counts."""

    def __init__(
        self, sealer: Sealer, attempts: Attempts, limit: AttemptLimit, *, clock: Callable[[], datetime]
    ) -> None:
        self._sealer = sealer
        self._attempts = attempts
        self._limit = limit
        self._clock = clock

    def seal(self, user: User, secret: str) -> bytes:
        """Return a secret as it is stored with its user."""
        return self._sealer.seal(secret.encode(), place=user.id.bytes)

    def secret_of(self, user: User) -> str:
        """Return a user's secret; raises `SealBrokenError` when the deployable's secret key was changed."""
        return self._sealer.open(user.totp_secret or b"", place=user.id.bytes).decode()

    async def accept(self, user: User, *, totp: str | None = None, recovery_code: str | None = None) -> bool:
        """Use a code up and tell whether it was right; raises `TooManyAttemptsError`."""
        subject = str(user.id)
        await self._attempts.begin(self._limit, subject)
        if not (self._accept_totp(user, totp) or self._accept_recovery(user, recovery_code)):
            return False
        await self._attempts.forget(self._limit, subject)
        return True

    def _accept_totp(self, user: User, code: str | None) -> bool:
        if code is None:
            return False
        step = matching_step(self.secret_of(user), code, now=self._clock(), after=user.totp_last_step)
        if step is None:
            return False
        user.totp_last_step = step
        return True

    @staticmethod
    def _accept_recovery(user: User, code: str | None) -> bool:
        if code is None:
            return False
        hashed = recovery_code_hash(code)
        if hashed not in user.recovery_code_hashes:
            return False
        user.recovery_code_hashes = [each for each in user.recovery_code_hashes if each != hashed]
        return True
