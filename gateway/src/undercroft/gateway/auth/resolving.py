"""From what was presented to a credential: a key by its answer, a token by its claims and what they allow now."""

import time
from collections.abc import Callable, Collection
from ipaddress import ip_network
from typing import Final, Protocol
from uuid import UUID

from undercroft.gateway.auth.credentials import Credential, Presented
from undercroft.gateway.auth.identity_client import Access, AccessRequest, VerifiedKey
from undercroft.gateway.auth.tokens import AccessToken
from undercroft.gateway.errors import AccessEndedError, MalformedRequestError, OrganizationNotFoundError
from undercroft.shared.auth import OPERATOR_SCOPE, Kind, Principal, Scope
from undercroft.shared.errors import BadGatewayError
from undercroft.shared.ids import InvalidIdError, TypeId

ORGANIZATION_HEADER: Final = "X-Organization"

_PREFIX_OF: Final[dict[Kind, str]] = {"user": "usr", "client": "client", "api_key": "key", "operator": "key"}
# What a person may do without any organization: it is for identity's own sign-in to grant it.
_OWN_SCOPES: Final = frozenset({str(Scope.ACCOUNT)})


class Resolver(Protocol):
    """Finds out what is opened by what was presented."""

    async def resolve(self, presented: Presented) -> Credential:
        """Return the credential.

        Raises `CredentialsInvalidError` (`AccessEndedError` where identity said so) and `OrganizationNotFoundError` for what opens nothing, and other errors when
        that cannot be found out now.
        """


class KeyVerifier(Protocol):
    """Asks whether a key is good."""

    async def verify(self, secret: str) -> VerifiedKey | None:
        """Return the key's properties, or None for one that is unknown, expired or revoked."""


class TokenSource(Protocol):
    """Reads tokens."""

    async def verify(self, text: str) -> AccessToken:
        """Return a genuine token's claims; raises `CredentialsInvalidError`."""


class AccessSource(Protocol):
    """Asks what a token's subject may do now."""

    async def look_up(self, request: AccessRequest) -> Access | None:
        """Return it, or None when it may do nothing any more; raises `OrganizationNotFoundError`."""


class KeyResolver:
    """API keys: identity's answer is all that there is."""

    def __init__(self, verifier: KeyVerifier, *, clock: Callable[[], float] = time.time) -> None:
        self._verifier = verifier
        self._clock = clock

    async def resolve(self, presented: Presented) -> Credential:
        """Ask identity about a key."""
        answer = await self._verifier.verify(presented.secret)
        if answer is None:
            raise AccessEndedError
        try:
            subject = str(TypeId.parse(answer.key_id, expect="key"))
            principal = Principal(
                subject=subject,
                kind=answer.kind,
                organization_id=_organization(answer.organization_id),
                scopes=answer.scopes,
                environment=answer.environment,
                plan=answer.plan,
            )
            return Credential(
                principal=principal,
                verified_at=self._clock(),
                expires_at=answer.expires_at.timestamp() if answer.expires_at else None,
                networks=tuple(ip_network(each) for each in answer.allowed_cidrs),
                tags=_tags(subject, answer.organization_id),
            )
        except ValueError as error:
            raise _nonsense() from error


class TokenResolver:
    """Access tokens: genuine by identity's keys, and worth what identity says that their subject may do now."""

    def __init__(
        self, verifier: TokenSource, source: AccessSource, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._verifier = verifier
        self._source = source
        self._clock = clock

    async def resolve(self, presented: Presented) -> Credential:
        """Verify a token and ask identity what it is worth in the organization that was asked for."""
        token = await self._verifier.verify(presented.secret)
        if presented.organization is not None or token.organization is None:
            access = await self._look_up(token, presented.organization)
        else:
            access = await self._look_up_default(token, token.organization)
        if access is None:
            raise AccessEndedError
        try:
            principal = _principal(token, access)
            networks = tuple(ip_network(each) for each in access.allowed_cidrs)
        except ValueError as error:
            raise _nonsense() from error
        return Credential(
            principal=principal,
            verified_at=self._clock(),
            expires_at=token.expires_at,
            networks=networks,
            tags=_tags(
                token.subject,
                access.organization_id,
                token.grant_id,
                token.client_id,
                token.token_id,
                token.key_id,
            ),
            thumbprint=token.thumbprint,
        )

    async def _look_up_default(self, token: AccessToken, organization: str) -> Access | None:
        """Ask about the organization that was active when the token was issued.

        Whoever has left it since is in none, rather than in another one that they do not expect.
        """
        try:
            return await self._look_up(token, organization)
        except OrganizationNotFoundError:
            access = await self._look_up(token, None)
        if access is None:
            return None
        return access.model_copy(update={"organization_id": None, "scopes": frozenset[str]()})

    async def _look_up(self, token: AccessToken, organization: str | None) -> Access | None:
        request = AccessRequest(
            subject=token.subject,
            token_id=token.token_id,
            grant_id=token.grant_id,
            organization_id=organization,
        )
        access = await self._source.look_up(request)
        if access is None or organization in (None, access.organization_id):
            return access
        if OPERATOR_SCOPE in access.scopes:  # bound to no organization, it acts in all of them
            return access
        raise _nonsense()


def check_organization(text: str) -> None:
    """Raise `MalformedRequestError` unless a header names an organization."""
    try:
        TypeId.parse(text, expect="org")
    except InvalidIdError:
        raise MalformedRequestError(f"{ORGANIZATION_HEADER} is the identifier of an organization.") from None


def _principal(token: AccessToken, access: Access) -> Principal:
    """Put together who calls: never more than the token says, never more than is allowed now."""
    if token.environment is not None and access.environment not in (None, token.environment):
        raise AccessEndedError
    prefix = _PREFIX_OF.get(access.kind)
    if prefix is None:
        raise ValueError(f"a token speaks for no {access.kind}")
    return Principal(
        subject=str(TypeId.parse(token.subject, expect=prefix)),
        kind=access.kind,
        organization_id=_organization(access.organization_id),
        scopes=_scopes(token.scopes, access),
        environment=token.environment or access.environment,
        plan=access.plan,
        grant_id=token.grant_id,
    )


def _scopes(granted: Collection[str], access: Access) -> frozenset[str]:
    allowed = frozenset(granted)
    if OPERATOR_SCOPE not in access.scopes:
        allowed &= access.scopes | (_OWN_SCOPES if access.kind == "user" else frozenset())
    return allowed


def _organization(text: str | None) -> UUID | None:
    return TypeId.parse(text, expect="org").uuid if text else None


def _tags(*identifiers: str | None) -> tuple[str, ...]:
    return tuple({each for each in identifiers if each is not None})


def _nonsense() -> BadGatewayError:
    return BadGatewayError("The identity service answered what it should not.")
