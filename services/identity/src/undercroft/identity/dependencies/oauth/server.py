"""What the authorization server holds as long as the application lives, and what it builds for one transaction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.dependencies.accounts import Wiring
from undercroft.identity.dependencies.tokens import token_service_on
from undercroft.identity.domain.oauth.tokens import TokenPolicy
from undercroft.identity.domain.sealing import Sealer
from undercroft.identity.repository.access import AccessRepository
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.oauth.clients import ClientRepository
from undercroft.identity.repository.oauth.codes import CodeRepository
from undercroft.identity.repository.oauth.consents import ConsentRepository
from undercroft.identity.repository.oauth.devices import DeviceRepository
from undercroft.identity.repository.oauth.grants import GrantRepository
from undercroft.identity.repository.oauth.people import PeopleRepository
from undercroft.identity.service.oauth.access_tokens import TokenReader
from undercroft.identity.service.oauth.authentication import ClientAuthenticator
from undercroft.identity.service.oauth.authorization import (
    AuthorizationPolicy,
    AuthorizationRepositories,
    AuthorizationService,
)
from undercroft.identity.service.oauth.client_credentials import ClientCredentialsService
from undercroft.identity.service.oauth.codes import CodeService
from undercroft.identity.service.oauth.connected_apps import ConnectedAppService
from undercroft.identity.service.oauth.device_decisions import DeviceDecisions
from undercroft.identity.service.oauth.devices import DevicePolicy, DeviceService, TypedCodes
from undercroft.identity.service.oauth.directory import ClientDirectory
from undercroft.identity.service.oauth.introspection import (
    IntrospectionService,
    RefreshTokenRows,
    RevocationService,
)
from undercroft.identity.service.oauth.pushed_requests import PushedRequestService
from undercroft.identity.service.oauth.userinfo import UserinfoService
from undercroft.identity.service.sessions import SessionService
from undercroft.identity.service.tokens import TokenService
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.db import Database
from undercroft.shared.dpop import UsedProofs
from undercroft.shared.settings import derive_key


def install_oauth(app: FastAPI) -> None:
    """Put on `app.state` what lives as long as the application; after accounts, whose counters it shares."""
    settings: IdentitySettings = app.state.settings
    database: Database = app.state.database

    @asynccontextmanager
    async def open_clients() -> AsyncIterator[ClientRepository]:
        async with database.read() as session:
            yield ClientRepository(session)

    state = app.state
    state.client_directory = ClientDirectory(open_clients)
    state.client_authenticator = ClientAuthenticator(
        state.client_directory, state.attempts, clock=state.clock
    )
    state.token_reader = TokenReader(state.key_ring, issuer=settings.issuer, clock=state.clock)
    state.client_credentials = ClientCredentialsService(state.key_ring, state.token_policy, clock=state.clock)
    state.used_proofs = UsedProofs(*state.caches, prefix="identity")
    state.interaction_sealer = Sealer(derive_key(settings.secret_key, "authorization interactions"))
    state.nonce_sealer = Sealer(derive_key(settings.secret_key, "dpop nonces"))


def introspection_service(app: FastAPI) -> IntrospectionService:
    """Build the use case of introspection; it takes a session for refresh tokens only."""
    state = app.state

    @asynccontextmanager
    async def open_refresh_tokens() -> AsyncIterator[RefreshTokenRows]:
        async with state.database.read() as session:
            yield RefreshTokenRows(GrantRepository(session), PeopleRepository(session))

    return IntrospectionService(
        AccessRepository(state.reads),
        open_refresh_tokens,
        state.token_reader,
        issuer=state.token_policy.issuer,
        clock=state.clock,
    )


class OAuthWiring:
    """Puts the use cases of one transaction together."""

    def __init__(self, app: FastAPI, session: AsyncSession) -> None:
        self._app = app
        self._state = app.state
        self._settings: IdentitySettings = app.state.settings
        self._policy: TokenPolicy = app.state.token_policy
        self._session = session
        self._grants = GrantRepository(session)
        self.people = PeopleRepository(session)
        self._events = EventRepository(session)
        self._reader: TokenReader = app.state.token_reader
        self._clock = app.state.clock

    @property
    def tokens(self) -> TokenService:
        """Tokens of people."""
        return token_service_on(self._app, self._session)

    @property
    def codes(self) -> CodeService:
        """Authorization codes."""
        return CodeService(CodeRepository(self._session), self.tokens, clock=self._clock)

    @property
    def devices(self) -> DeviceService:
        """Devices that poll."""
        policy = DevicePolicy(
            self._settings.device_code_seconds,
            self._settings.device_interval_seconds,
            self._policy.known_resources,
        )
        rows = DeviceRepository(self._session)
        return DeviceService(rows, self._grants, self.tokens, policy, clock=self._clock)

    @property
    def device_decisions(self) -> DeviceDecisions:
        """Deciding about devices."""
        rows = DeviceRepository(self._session)
        return DeviceDecisions(
            rows,
            self._grants,
            self.authorization,
            grant_seconds=self._policy.grant_seconds,
            clock=self._clock,
        )

    @property
    def typed_codes(self) -> TypedCodes:
        """Codes that people type."""
        return TypedCodes(DeviceRepository(self._session), self._state.attempts, clock=self._clock)

    @property
    def revocation(self) -> RevocationService:
        """Ending tokens."""
        return RevocationService(self._grants, self._events, self._reader, self.tokens)

    @property
    def userinfo(self) -> UserinfoService:
        """Telling about people."""
        access = AccessRepository(self._state.reads)
        return UserinfoService(
            access, self._grants, self.people, self._reader, issuer=self._policy.issuer, clock=self._clock
        )

    @property
    def pushed_requests(self) -> PushedRequestService:
        """Requests that were pushed."""
        return PushedRequestService(
            CodeRepository(self._session),
            known_resources=self._policy.known_resources,
            life_seconds=self._settings.pushed_request_seconds,
            clock=self._clock,
        )

    @property
    def authorization(self) -> AuthorizationService:
        """Requests for codes."""
        rows = AuthorizationRepositories(
            grants=self._grants,
            codes=CodeRepository(self._session),
            consents=ConsentRepository(self._session),
            people=self.people,
            events=self._events,
        )
        policy = AuthorizationPolicy(self._settings.authorization_code_seconds, self._policy.grant_seconds)
        return AuthorizationService(rows, self._reader, policy, clock=self._clock)

    @property
    def connected_apps(self) -> ConnectedAppService:
        """What somebody has allowed."""
        return ConnectedAppService(ConsentRepository(self._session), self._grants, self._events, self.tokens)

    @property
    def sessions(self) -> SessionService:
        """Where people are signed in."""
        return Wiring(self._app, self._state.database, self._session).sessions
