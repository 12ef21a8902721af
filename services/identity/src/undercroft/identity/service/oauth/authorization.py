"""Answering authorization requests: who is there, whether they agree, and the code that says so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from undercroft.identity.domain.oauth import scopes
from undercroft.identity.domain.oauth.requests import AuthorizationRequest
from undercroft.identity.domain.oauth.tokens import hash_secret, new_secret
from undercroft.identity.domain.oauth.user_claims import subject_of
from undercroft.identity.domain.roles import PERSONAL_SCOPES
from undercroft.identity.domain.sign_in import SignedIn
from undercroft.identity.errors.oauth import (
    AccessDeniedError,
    ConsentRequiredError,
    InteractionRequiredError,
    InvalidRequestError,
    LoginRequiredError,
)
from undercroft.identity.events.grants import consent_event
from undercroft.identity.models.oauth import AuthorizationCode, Consent
from undercroft.identity.models.sessions import Grant
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.oauth.codes import CodeRepository
from undercroft.identity.repository.oauth.consents import ConsentRepository, StoredConsent
from undercroft.identity.repository.oauth.grants import GrantRepository
from undercroft.identity.repository.oauth.people import PeopleRepository, Place
from undercroft.identity.service.oauth.access_tokens import TokenReader
from undercroft.shared.ids import new_uuid7


@dataclass(frozen=True, slots=True)
class SignInNeeded:
    """Somebody has to sign in first; `is_again` when being signed in is not enough."""

    is_again: bool


@dataclass(frozen=True, slots=True)
class ConsentNeeded:
    """Somebody has to decide: about what, and for which of their organizations."""

    email: str
    scopes: frozenset[str]
    places: Sequence[Place]
    chosen: UUID | None


@dataclass(frozen=True, slots=True)
class CodeIssued:
    """Nothing is left to ask."""

    code: str


Outcome: TypeAlias = SignInNeeded | ConsentNeeded | CodeIssued


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRepositories:
    """Where authorization reads and writes."""

    grants: GrantRepository
    codes: CodeRepository
    consents: ConsentRepository
    people: PeopleRepository
    events: EventRepository


@dataclass(frozen=True, slots=True)
class AuthorizationPolicy:
    """What settings say; times in seconds."""

    code_seconds: int
    grant_seconds: int


class AuthorizationService:
    """Use cases behind the authorization endpoint and the consent page."""

    def __init__(
        self,
        repositories: AuthorizationRepositories,
        reader: TokenReader,
        policy: AuthorizationPolicy,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._rows = repositories
        self._reader = reader
        self._policy = policy
        self._clock = clock

    async def begin(
        self, request: AuthorizationRequest, signed_in: SignedIn | None, *, asked_at: datetime | None
    ) -> Outcome:
        """Return what the request needs next.

        `asked_at` is when this person was sent to sign in again for this request. Raises the errors that go back to
        the client, which with `prompt=none` are all there is.
        """
        is_silent = "none" in request.prompt
        wanted = await self._wanted_subject(request)
        if signed_in is None or self._is_stale(request, signed_in, wanted, asked_at=asked_at):
            if is_silent:
                raise LoginRequiredError("Somebody has to sign in.")
            return SignInNeeded(is_again=signed_in is not None)
        if wanted is not None and wanted != subject_of(signed_in.user_id):
            raise LoginRequiredError("Somebody else is signed in.")
        needed = await self._consent_needed(request, signed_in)
        if isinstance(needed, ConsentNeeded):
            if is_silent and needed.scopes:
                raise ConsentRequiredError("Somebody has to consent.")
            if is_silent:
                raise InteractionRequiredError("Somebody has to choose an organization.")
            return needed
        return await self._issue(request, signed_in, organization_id=needed)

    async def decide(
        self,
        request: AuthorizationRequest,
        signed_in: SignedIn,
        *,
        is_allowed: bool,
        organization_id: UUID | None,
    ) -> CodeIssued:
        """Take a decision of the consent page; raises `AccessDeniedError` for a refusal."""
        if not is_allowed:
            raise AccessDeniedError("Access was refused.")
        place = await self.choose(signed_in.user_id, organization_id)
        await self.remember(
            signed_in.user_id, request.client.row_id, request.scopes | request.claims.scopes, place
        )
        return await self._issue(request, signed_in, organization_id=place)

    async def choose(self, user_id: UUID, organization_id: UUID | None) -> UUID | None:
        """Return the organization that somebody chose, or their only one; raises `AccessDeniedError` for another's."""
        places = await self._rows.people.places(user_id)
        if organization_id is None and len(places) == 1:
            return places[0].organization_id
        if organization_id is not None and organization_id not in {place.organization_id for place in places}:
            raise AccessDeniedError("The organization is not one of theirs.")
        return organization_id

    async def remember(
        self, user_id: UUID, client_id: UUID, granted: frozenset[str], organization_id: UUID | None
    ) -> None:
        """Remember a consent, so that the same is not asked again."""
        before = await self._rows.consents.find(user_id, client_id)
        kept = granted if before is None else granted | set(before.scopes)
        consent = Consent(
            user_id=user_id,
            client_id=client_id,
            organization_id=organization_id,
            scopes=sorted(kept),
            updated_at=self._clock(),
        )
        await self._rows.consents.put(consent)
        event = consent_event("given", user_id=user_id, client_id=client_id, organization_id=organization_id)
        await self._rows.events.add(event)

    async def _wanted_subject(self, request: AuthorizationRequest) -> str | None:
        """Return the only person that will do (`id_token_hint`, or `sub` in `claims`)."""
        if request.id_token_hint is None:
            return request.claims.subject
        claims = await self._reader.read_id_token(request.id_token_hint)
        if claims is None:
            raise InvalidRequestError("The id_token_hint is not an ID token of this server.")
        subject = str(claims["sub"])
        if request.claims.subject not in {None, subject}:
            raise InvalidRequestError("The id_token_hint is about somebody else than claims.")
        return subject

    def _is_stale(
        self,
        request: AuthorizationRequest,
        signed_in: SignedIn,
        wanted: str | None,
        *,
        asked_at: datetime | None,
    ) -> bool:
        """Tell whether somebody who is signed in has to do it again: once for a request, however it ends."""
        if asked_at is not None and signed_in.authenticated_at >= asked_at:
            return False
        age = self._clock() - signed_in.authenticated_at
        if request.max_age is not None and age > timedelta(seconds=request.max_age):
            return True
        is_other = wanted is not None and wanted != subject_of(signed_in.user_id)
        return "login" in request.prompt or is_other

    async def _consent_needed(
        self, request: AuthorizationRequest, signed_in: SignedIn
    ) -> ConsentNeeded | UUID | None:
        """Return what has to be decided, else the organization that the grant is bound to, None without one."""
        places = await self._rows.people.places(signed_in.user_id)
        before = await self._rows.consents.find(signed_in.user_id, request.client.row_id)
        place = _place(places, before)
        asked = request.scopes | request.claims.scopes
        is_covered = not request.client.is_consent_required or (
            before is not None and asked <= set(before.scopes)
        )
        is_choice_open = place is None and len(places) > 1 and bool(request.scopes - PERSONAL_SCOPES)
        if is_covered and not is_choice_open and not request.prompt & {"consent", "select_account"}:
            return place
        person = await self._rows.people.find(signed_in.user_id)
        email = "" if person is None else person.email
        return ConsentNeeded(email, frozenset() if is_covered else asked, places, place)

    async def _issue(
        self, request: AuthorizationRequest, signed_in: SignedIn, *, organization_id: UUID | None
    ) -> CodeIssued:
        now = self._clock()
        grant = Grant(
            id=new_uuid7(),
            user_id=signed_in.user_id,
            client_id=request.client.row_id,
            session_id=None if scopes.OFFLINE_ACCESS in request.scopes else signed_in.session_id,
            organization_id=organization_id,
            scopes=sorted(request.scopes),
            requested_claims=request.claims.names,
            resources=list(request.resources),
            methods=list(signed_in.methods),
            authenticated_at=signed_in.authenticated_at,
            nonce=request.nonce,
            expires_at=now + timedelta(seconds=self._policy.grant_seconds),
        )
        await self._rows.grants.add(grant)
        code = new_secret()
        row = AuthorizationCode(
            code_hash=hash_secret(code),
            grant_id=grant.id,
            client_id=request.client.row_id,
            redirect_uri=request.redirect_uri,
            code_challenge=request.code_challenge,
            dpop_thumbprint=request.thumbprint,
            expires_at=now + timedelta(seconds=self._policy.code_seconds),
        )
        await self._rows.codes.add(row)
        return CodeIssued(code)


def _place(places: Sequence[Place], before: StoredConsent | None) -> UUID | None:
    """Return the organization that was chosen before, or the only one there is."""
    own = [place.organization_id for place in places]
    if before is not None and before.organization_id in own:
        return before.organization_id
    return own[0] if len(own) == 1 else None
