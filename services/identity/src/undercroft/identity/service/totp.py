"""Setting up and ending one-time codes (RFC 6238) and their recovery codes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from undercroft.identity.domain.one_time_codes import (
    new_recovery_codes,
    new_totp_secret,
    recovery_code_hash,
    totp_uri,
)
from undercroft.identity.domain.sign_in import Person
from undercroft.identity.errors.accounts import (
    CodeWrongError,
    TotpEnabledError,
    TotpNotEnabledError,
    TotpNotStartedError,
)
from undercroft.identity.events.users import user_event, user_subject
from undercroft.identity.models.users import User
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.users import UserRepository
from undercroft.identity.service.password_changes import PasswordService
from undercroft.identity.service.postbox import Postbox
from undercroft.identity.service.second_factors import SecondFactors
from undercroft.identity.service.sessions import SessionService


@dataclass(frozen=True, slots=True, kw_only=True)
class TotpTools:
    """What one-time codes work with."""

    users: UserRepository
    events: EventRepository
    postbox: Postbox
    factors: SecondFactors
    passwords: PasswordService
    sessions: SessionService


@dataclass(frozen=True, slots=True)
class TotpBegun:
    """A secret that is shown once; it counts when a code of it was typed."""

    secret: str
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What somebody signed in shows to weaken their account's protection: a password or a code."""

    password: str | None = None
    totp: str | None = None
    recovery_code: str | None = None


class TotpService:
    """Use cases of one-time codes."""

    def __init__(self, tools: TotpTools, *, brand: str, clock: Callable[[], datetime]) -> None:
        self._tools = tools
        self._brand = brand
        self._clock = clock

    async def begin(self, person: Person) -> TotpBegun:
        """Make a secret; raises `RecentSignInRequiredError` and `TotpEnabledError`."""
        await self._tools.sessions.require_recent(person)
        user = await self._tools.users.get_locked(person.user_id)
        if user.has_totp:
            raise TotpEnabledError("One-time codes are set up already; disable them first.")
        secret = new_totp_secret()
        user.totp_secret = self._tools.factors.seal(user, secret)
        user.totp_last_step = None
        await self._tools.users.save()
        return self._begun(user, secret)

    async def pending(self, person: Person) -> TotpBegun | None:
        """Return the secret that waits to be confirmed, for the page that shows it again after a wrong code."""
        user = await self._tools.users.get(person.user_id)
        if user.has_totp or user.totp_secret is None:
            return None
        return self._begun(user, self._tools.factors.secret_of(user))

    async def confirm(self, person: Person, code: str) -> list[str]:
        """Enable codes and return the recovery codes, shown this once.

        Raises `TotpEnabledError`, `TotpNotStartedError`, `CodeWrongError` and `TooManyAttemptsError`.
        """
        user = await self._tools.users.get_locked(person.user_id)
        if user.has_totp:
            raise TotpEnabledError("One-time codes are set up already.")
        if user.totp_secret is None:
            raise TotpNotStartedError("Begin first, then confirm with a code.")
        if not await self._tools.factors.accept(user, totp=code):
            raise CodeWrongError("The code is wrong. Check the clock of your device.")
        user.totp_enabled_at = self._clock()
        codes = await self._renew_codes(user)
        await self._save(user, "totp")
        await self._tools.postbox.tell(user, "One-time codes were set up for signing in to your account.")
        return codes

    async def disable(self, person: Person, proof: Proof) -> None:
        """Disable codes; raises `TotpNotEnabledError`, `CodeWrongError` and what `confirm` of a password raises."""
        user = await self._prove(person, proof)
        user.totp_secret = user.totp_enabled_at = user.totp_last_step = None
        user.recovery_code_hashes = []
        await self._save(user, "totp")
        await self._tools.postbox.tell(
            user, "One-time codes are no longer needed for signing in to your account."
        )

    async def renew_recovery_codes(self, person: Person, proof: Proof) -> list[str]:
        """Replace all recovery codes and return the new ones; raises what `disable` raises."""
        user = await self._prove(person, proof)
        codes = await self._renew_codes(user)
        await self._save(user, "recovery_codes")
        return codes

    async def _prove(self, person: Person, proof: Proof) -> User:
        if proof.password is not None:
            user = await self._tools.passwords.confirm(person, proof.password)
        else:
            user = await self._tools.users.get_locked(person.user_id)
        if not user.has_totp:
            raise TotpNotEnabledError("One-time codes are not set up.")
        if proof.password is None and not await self._tools.factors.accept(
            user, totp=proof.totp, recovery_code=proof.recovery_code
        ):
            raise CodeWrongError("The code is wrong or was used before.")
        return user

    async def _renew_codes(self, user: User) -> list[str]:
        codes = new_recovery_codes()
        user.recovery_code_hashes = [recovery_code_hash(code) for code in codes]
        return codes

    async def _save(self, user: User, *changed: str) -> None:
        user.revision += 1
        user.updated_at = self._clock()
        await self._tools.users.save()
        await self._tools.events.add(
            user_event("updated", user.id, actor=user_subject(user.id), changed=changed)
        )

    def _begun(self, user: User, secret: str) -> TotpBegun:
        return TotpBegun(secret, totp_uri(secret, account=user.email, issuer=self._brand))
