"""Signing in: a password, then a second factor when there is one. The same work for every address.

A wrong guess, an unknown address and an account without a password cost one hash each and are answered alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from undercroft.identity.domain.attempts import AttemptLimit
from undercroft.identity.domain.emails import email_key
from undercroft.identity.domain.known_devices import issue_known_device, read_known_device
from undercroft.identity.domain.sealing import Sealer
from undercroft.identity.domain.sign_in import Device, Method
from undercroft.identity.errors.accounts import (
    InvalidCredentialsError,
    SecondFactorRequiredError,
    UserDisabledError,
    UserNotFoundError,
)
from undercroft.identity.models.users import User
from undercroft.identity.repository.credentials import CredentialRepository, Credentials
from undercroft.identity.repository.users import UserRepository
from undercroft.identity.service.attempts import Attempts
from undercroft.identity.service.password_hashing import PasswordHasher, Verdict
from undercroft.identity.service.second_factors import SecondFactors
from undercroft.identity.service.sessions import OpenedSession, SessionService


@dataclass(frozen=True, slots=True)
class SignInLimits:
    """How attempts are counted: for an account, for one known device of it, for an address of the network."""

    account: AttemptLimit
    device: AttemptLimit
    address: AttemptLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInTools:
    """What signing in works with."""

    credentials: CredentialRepository
    users: UserRepository
    hasher: PasswordHasher
    attempts: Attempts
    factors: SecondFactors
    device_sealer: Sealer


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFactorCode:
    """What was typed as second factor; one of the two, or none yet."""

    totp: str | None = None
    recovery_code: str | None = None

    @property
    def is_missing(self) -> bool:
        """Whether nothing was typed."""
        return not self.totp and not self.recovery_code


@dataclass(frozen=True, slots=True)
class SignedInUser:
    """Who has signed in, in which session, and the proof that this browser did."""

    user: User
    session: OpenedSession
    known_device: str


class PasswordSignIn(Protocol):
    """An address and its password."""

    @property
    def email(self) -> str:
        """The address as it was typed."""

    @property
    def password(self) -> str:
        """The password as it was typed."""


class SignInService:
    """Use cases of signing in."""

    def __init__(
        self,
        tools: SignInTools,
        sessions: SessionService,
        limits: SignInLimits,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._tools = tools
        self._sessions = sessions
        self._limits = limits
        self._clock = clock

    async def sign_in(self, given: PasswordSignIn, code: SecondFactorCode, *, device: Device) -> SignedInUser:
        """Open a session.

        Raises `InvalidCredentialsError`, `SecondFactorRequiredError`, `UserDisabledError`, `TooManyAttemptsError`
        and `HashingBusyError`.
        """
        user = await self.check_password(given, device=device)
        return await self.finish(user, code, device=device)

    async def check_password(self, given: PasswordSignIn, *, device: Device) -> User:
        """Return whose address and password these are, with the row locked; raises what `sign_in` raises."""
        key = email_key(given.email.strip())
        limit, subject = self._counted_as(key, device)
        await self._tools.attempts.begin(limit, subject)
        if limit is self._limits.account:
            await self._tools.attempts.begin(self._limits.address, device.address)
        credentials = await self._tools.credentials.find(key)
        stored = None if credentials is None else credentials.password_hash
        verdict = await self._tools.hasher.verify(given.password, stored)
        if credentials is None or not verdict.is_right:
            raise InvalidCredentialsError("The address or the password is wrong.")
        user = await self._accept(credentials, verdict)
        await self._tools.attempts.forget(limit, subject)
        if limit is self._limits.account:
            await self._tools.attempts.forgive(self._limits.address, device.address)
        return user

    async def check_code(self, user_id: UUID, code: SecondFactorCode, *, device: Device) -> SignedInUser:
        """Open a session for whoever proved the password a moment ago; raises what `sign_in` raises."""
        try:
            user = await self._tools.users.get_locked(user_id)
        except UserNotFoundError:
            raise InvalidCredentialsError("The account is gone.") from None
        _require_enabled(user)
        return await self.finish(user, code, device=device)

    async def finish(self, user: User, code: SecondFactorCode, *, device: Device) -> SignedInUser:
        """Open a session for a user whose password was right; raises what `sign_in` raises."""
        methods: tuple[str, ...] = (Method.PASSWORD,)
        if user.totp_enabled_at is not None:
            if code.is_missing:
                raise SecondFactorRequiredError("A code of your authenticator app is needed too.")
            if not await self._tools.factors.accept(user, totp=code.totp, recovery_code=code.recovery_code):
                raise InvalidCredentialsError("The code is wrong or was used before.")
            methods = (Method.PASSWORD, Method.ONE_TIME_CODE, Method.SEVERAL_FACTORS)
        return await self.open(user, methods=methods, device=device)

    async def open(self, user: User, *, methods: tuple[str, ...], device: Device) -> SignedInUser:
        """Open a session for somebody who has proved who they are."""
        _require_enabled(user)
        session = await self._sessions.open(user.id, methods=methods, device=device)
        return SignedInUser(user, session, issue_known_device(self._tools.device_sealer, user.email_key))

    async def _accept(self, credentials: Credentials, verdict: Verdict) -> User:
        try:
            user = await self._tools.users.get_locked(credentials.user_id)
        except UserNotFoundError:
            raise InvalidCredentialsError("The address or the password is wrong.") from None
        if user.password_hash != credentials.password_hash:  # it was changed while this one was compared
            raise InvalidCredentialsError("The address or the password is wrong.")
        _require_enabled(user)
        if verdict.replacement is not None:
            user.password_hash = verdict.replacement
            await self._tools.users.save()
        return user

    def _counted_as(self, key: str, device: Device) -> tuple[AttemptLimit, str]:
        known = read_known_device(self._tools.device_sealer, device.known_device)
        if known is not None and known.email_key == key:
            return self._limits.device, known.id
        return self._limits.account, key


def _require_enabled(user: User) -> None:
    if user.disabled_at is not None:
        raise UserDisabledError("This account is disabled. Ask whoever runs the service.")
