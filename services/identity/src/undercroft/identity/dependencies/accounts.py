"""How routes come by the use cases of accounts."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Request
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.clients.attempts import CachedAttempts
from undercroft.identity.dependencies.devices import device, session_secret
from undercroft.identity.dependencies.mail import postbox
from undercroft.identity.domain.attempts import AttemptLimit
from undercroft.identity.domain.sealing import Sealer
from undercroft.identity.domain.sign_in import Device, Person, SignedIn
from undercroft.identity.errors.accounts import NotAPersonError
from undercroft.identity.errors.pages import SignInNeededError
from undercroft.identity.repository.credentials import CredentialRepository
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.memberships import MembershipRepository
from undercroft.identity.repository.organizations import OrganizationRepository
from undercroft.identity.repository.profiles import ProfileRepository
from undercroft.identity.repository.registrations import EmailTokenRepository, RegistrationRepository
from undercroft.identity.repository.sessions import SessionRepository
from undercroft.identity.repository.users import UserRepository
from undercroft.identity.service.accounts import AccountService, AccountTools
from undercroft.identity.service.departures import Departures
from undercroft.identity.service.founding import OrganizationFounder
from undercroft.identity.service.new_passwords import NewPasswords
from undercroft.identity.service.password_changes import ConfirmationLimits, PasswordService, PasswordTools
from undercroft.identity.service.password_hashing import HashingPolicy, PasswordHasher
from undercroft.identity.service.profiles import ProfileService
from undercroft.identity.service.registrations import (
    RegistrationPolicy,
    RegistrationService,
    RegistrationTools,
)
from undercroft.identity.service.second_factors import SecondFactors
from undercroft.identity.service.sessions import SessionPolicy, SessionService
from undercroft.identity.service.sign_in import SignInLimits, SignInService, SignInTools
from undercroft.identity.service.users import UserService
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.auth import Principal, Requires
from undercroft.shared.cache import close_cache, make_cache
from undercroft.shared.db import Database, SessionDep, get_database
from undercroft.shared.ids import InvalidIdError, TypeId
from undercroft.shared.settings import derive_key

_ATTEMPTS_REMEMBERED: Final = 100_000


def install_accounts(app: FastAPI) -> None:
    """Put on `app.state` what lives as long as the application: hashing threads, counters, keys of seals."""
    settings: IdentitySettings = app.state.settings
    app.state.password_hasher = PasswordHasher(
        HashingPolicy(
            memory_kib=settings.argon2_memory_kib,
            iterations=settings.argon2_iterations,
            parallelism=settings.argon2_parallelism,
            concurrency=settings.hashing_concurrency,
            queue=settings.hashing_queue,
            wait_seconds=settings.hashing_wait_seconds,
        )
    )
    app.state.caches = [
        make_cache(settings.redis_url, prefix="identity", memory_size=_ATTEMPTS_REMEMBERED),
        make_cache(None, prefix="identity", memory_size=_ATTEMPTS_REMEMBERED),
    ]
    app.state.attempts = CachedAttempts(*app.state.caches)
    app.state.totp_sealer = Sealer(derive_key(settings.secret_key, "totp"))
    app.state.passkey_sealer = Sealer(derive_key(settings.secret_key, "passkeys"))
    app.state.page_sealer = Sealer(derive_key(settings.secret_key, "pages"))
    app.state.device_sealer = Sealer(derive_key(settings.secret_key, "known-devices"))


async def close_accounts(app: FastAPI) -> None:
    """Let go of what `install_accounts` made."""
    app.state.password_hasher.close()
    for cache in app.state.caches:
        await close_cache(cache)


class Wiring:
    """Puts the use cases of one transaction together."""

    def __init__(self, app: FastAPI, database: Database, session: AsyncSession) -> None:
        self.state = app.state
        self.settings: IdentitySettings = app.state.settings
        self.clock: Callable[[], datetime] = app.state.clock
        self.session = session
        self.users = UserRepository(session)
        self.events = EventRepository(session)
        self.memberships = MembershipRepository(session)
        self.organizations = OrganizationRepository(session)
        self.email_tokens = EmailTokenRepository(session)
        self.credentials = CredentialRepository(database)
        self.postbox = postbox(self.settings, session)
        self.hasher: PasswordHasher = app.state.password_hasher
        self.attempts: CachedAttempts = app.state.attempts
        self.new_passwords = NewPasswords(self.hasher, min_length=self.settings.password_min_length)

    def limit(self, name: str, free: int) -> AttemptLimit:
        """Return how attempts of one kind are counted."""
        settings = self.settings
        return AttemptLimit(
            name, free, settings.attempt_window_seconds, settings.attempt_longest_wait_seconds
        )

    @property
    def sessions(self) -> SessionService:
        """Sessions."""
        settings = self.settings
        policy = SessionPolicy(
            life=timedelta(days=settings.session_life_days),
            idle=timedelta(days=settings.session_idle_days),
            recent=timedelta(seconds=settings.recent_sign_in_seconds),
        )
        return SessionService(SessionRepository(self.session), self.events, policy, clock=self.clock)

    @property
    def factors(self) -> SecondFactors:
        """Second factors."""
        limit = self.limit("code", self.settings.free_attempts_per_account)
        return SecondFactors(self.state.totp_sealer, self.attempts, limit, clock=self.clock)

    @property
    def sign_in(self) -> SignInService:
        """Signing in."""
        tools = SignInTools(
            credentials=self.credentials,
            users=self.users,
            hasher=self.hasher,
            attempts=self.attempts,
            factors=self.factors,
            device_sealer=self.state.device_sealer,
        )
        limits = SignInLimits(
            account=self.limit("account", self.settings.free_attempts_per_account),
            device=self.limit("device", self.settings.free_attempts_per_account),
            address=self.limit("address", self.settings.free_attempts_per_address),
        )
        return SignInService(tools, self.sessions, limits, clock=self.clock)

    @property
    def founder(self) -> OrganizationFounder:
        """Founding organizations."""
        return OrganizationFounder(self.organizations, self.memberships, self.events)

    @property
    def registrations(self) -> RegistrationService:
        """Registering."""
        tools = RegistrationTools(
            registrations=RegistrationRepository(self.session),
            users=self.users,
            events=self.events,
            passwords=self.new_passwords,
            postbox=self.postbox,
            attempts=self.attempts,
            founder=self.founder,
        )
        policy = RegistrationPolicy(
            is_open=self.settings.sign_up == "open",
            may_found=self.settings.organization_creation == "open",
            life=timedelta(hours=self.settings.registration_life_hours),
            limit=self.limit("registration", self.settings.free_attempts_per_address),
        )
        return RegistrationService(tools, policy, clock=self.clock)

    @property
    def passwords(self) -> PasswordService:
        """Changing passwords."""
        tools = PasswordTools(
            credentials=self.credentials,
            users=self.users,
            tokens=self.email_tokens,
            events=self.events,
            hasher=self.hasher,
            passwords=self.new_passwords,
            postbox=self.postbox,
            attempts=self.attempts,
        )
        limits = ConfirmationLimits(
            confirmation=self.limit("confirmation", self.settings.free_attempts_per_account),
            address=self.limit("reset", self.settings.free_attempts_per_address),
        )
        return PasswordService(tools, self.sessions, limits, clock=self.clock)

    @property
    def departures(self) -> Departures:
        """Deleting people."""
        return Departures(
            users=self.users,
            memberships=self.memberships,
            organizations=self.organizations,
            events=self.events,
            sessions=self.sessions,
        )

    @property
    def accounts(self) -> AccountService:
        """One's own account."""
        tools = AccountTools(
            users=self.users,
            memberships=self.memberships,
            tokens=self.email_tokens,
            events=self.events,
            postbox=self.postbox,
            departures=self.departures,
        )
        return AccountService(tools, self.sessions, self.passwords, clock=self.clock)

    @property
    def people(self) -> UserService:
        """What the operator does with people."""
        return UserService(self.users, self.events, self.sessions, self.departures, clock=self.clock)


async def wiring(request: Request, session: SessionDep) -> Wiring:
    """Put the use cases of a request together; no connection is taken before one of them needs it."""
    return Wiring(request.app, get_database(request), session)


async def profile_service(request: Request) -> ProfileService:
    """Build the use case of profiles for one request; it reads one row and needs no transaction."""
    return ProfileService(ProfileRepository(request.app.state.reads))


async def person(principal: Annotated[Principal, Depends(Requires("account"))]) -> Person:
    """Admit a person to their own account; raises `NotAPersonError` for keys and clients."""
    if principal.kind != "user":
        raise NotAPersonError("Only a person who is signed in has an account.")
    try:
        user_id = TypeId.parse(principal.subject, expect="usr").uuid
        grant = principal.grant_id
        grant_id = None if grant is None else TypeId.parse(grant, expect="grt").uuid
    except InvalidIdError:
        raise NotAPersonError("Only a person who is signed in has an account.") from None
    return Person(user_id, grant_id=grant_id)


async def signed_in(request: Request) -> SignedIn | None:
    """Return who is signed in with the cookie of a page, None for nobody."""
    secret = session_secret(request)
    if secret is None:
        return None
    # Its own short transaction: pages that hash passwords hold no connection meanwhile.
    database = get_database(request)
    async with database.begin() as session:
        return await Wiring(request.app, database, session).sessions.find_by_cookie(secret)


async def page_person(request: Request, found: Annotated[SignedIn | None, Depends(signed_in)]) -> Person:
    """Admit whoever is signed in to a page; raises `SignInNeededError`, which leads there and back."""
    if found is None:
        query = f"?{request.url.query}" if request.url.query else ""
        # What a form would have done is not repeated after signing in: its page is shown again.
        raise SignInNeededError(f"{request.url.path}{query}" if request.method == "GET" else "/account")
    return Person(found.user_id, signed_in=found)


async def page_device(request: Request, found: Annotated[SignedIn | None, Depends(signed_in)]) -> Device:
    """Return the browser behind a page, with the session that is open in it."""
    return replace(device(request), signed_in=found)


ProfileServiceDep = Annotated[ProfileService, Depends(profile_service)]
PagePersonDep = Annotated[Person, Depends(page_person)]
PageDeviceDep = Annotated[Device, Depends(page_device)]
WiringDep = Annotated[Wiring, Depends(wiring)]
PersonDep = Annotated[Person, Depends(person)]
SignedInDep = Annotated[SignedIn | None, Depends(signed_in)]
