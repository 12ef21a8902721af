"""Telling what the subject of an access token may do now; it reads one row and writes nothing."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from undercroft.identity.domain.api_keys import key_kind
from undercroft.identity.domain.oauth.user_claims import subject_of
from undercroft.identity.domain.roles import SCOPES_OF, Role
from undercroft.identity.errors.access import AccessEndedError
from undercroft.identity.errors.organizations import OrganizationNotFoundError
from undercroft.identity.repository.access import AccessRepository
from undercroft.identity.schemas.access import Access, AccessQuestion
from undercroft.shared.auth import OPERATOR_SCOPE
from undercroft.shared.ids import InvalidIdError, TypeId


class AccessService:
    """The use case behind `POST /internal/access`."""

    def __init__(self, rows: AccessRepository, *, clock: Callable[[], datetime]) -> None:
        self._rows = rows
        self._clock = clock

    async def find(self, question: AccessQuestion) -> Access:
        """Return what a token's subject may do; raises `AccessEndedError` and `OrganizationNotFoundError`."""
        try:
            subject = TypeId.parse(question.subject)
        except InvalidIdError:
            raise _ended() from None
        match subject.prefix:
            case "usr":
                return await self._of_user(question)
            case "key":
                return await self._of_key(subject.uuid, question)
            case "client":
                return await self._of_client(subject.uuid, question)
            case _:
                raise _ended()

    async def _of_user(self, question: AccessQuestion) -> Access:
        if question.grant_id is None:
            raise _ended()
        asked = question.organization_id
        standing = await self._rows.find_grant(
            question.grant_id, jti=question.token_id, organization_id=asked
        )
        if standing is None or standing.is_token_revoked or standing.has_ended(self._clock()):
            raise _ended()
        if subject_of(standing.user_id) != question.subject:
            raise _ended()
        is_bound_elsewhere = standing.client_id is not None and standing.bound_to != asked
        if asked is not None and (standing.role is None or is_bound_elsewhere):
            raise _no_organization()
        role = Role(standing.role) if standing.role is not None else None
        return Access(
            kind="user",
            organization_id=standing.organization_id,
            scopes=sorted(SCOPES_OF[role]) if role is not None else [],
        )

    async def _of_key(self, key_id: UUID, question: AccessQuestion) -> Access:
        key = await self._rows.find_key(key_id, jti=question.token_id)
        if key is None or key.is_token_revoked or key.has_ended(self._clock()):
            raise _ended()
        _require_own(key.organization_id, key.scopes, question.organization_id)
        return Access(
            kind=key_kind(key.scopes),
            organization_id=key.organization_id,
            scopes=key.scopes,
            environment=key.environment,
            allowed_cidrs=key.allowed_cidrs,
        )

    async def _of_client(self, client_id: UUID, question: AccessQuestion) -> Access:
        client = await self._rows.find_client(client_id, jti=question.token_id)
        if client is None or client.is_token_revoked:
            raise _ended()
        _require_own(client.organization_id, client.scopes, question.organization_id)
        return Access(kind="client", organization_id=client.organization_id, scopes=client.scopes)


def _require_own(own: UUID | None, scopes: list[str], asked: UUID | None) -> None:
    """Refuse an organization that is not the subject's own; the operator has all of them."""
    is_operators = own is None and OPERATOR_SCOPE in scopes
    if asked not in {None, own} and not is_operators:
        raise _no_organization()


def _ended() -> AccessEndedError:
    return AccessEndedError("What this token was issued for has ended.")


def _no_organization() -> OrganizationNotFoundError:
    return OrganizationNotFoundError("There is no such organization.")
