"""What stands behind an access token now: one statement for each kind of subject, no entities."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import BindParameter, ScalarSelect, and_, bindparam, case, exists, or_, select
from sqlalchemy.orm import aliased

from undercroft.identity.models.api_keys import ApiKey
from undercroft.identity.models.oauth import OAuthClient, RevokedToken
from undercroft.identity.models.organizations import Membership
from undercroft.identity.models.sessions import Grant, Session
from undercroft.identity.models.users import User
from undercroft.identity.repository.reads import Reads


class GrantStanding(NamedTuple):
    """A person's grant: the client's id or None for own sign-in, where it serves, and what the person is there."""

    user_id: UUID
    client_id: UUID | None
    bound_to: UUID | None
    organization_id: UUID | None
    role: str | None
    expires_at: datetime
    session_expires_at: datetime | None
    username: str
    is_token_revoked: bool

    def has_ended(self, now: datetime) -> bool:
        """Tell whether the grant, or the session that it ends with, is over."""
        return min(self.expires_at, self.session_expires_at or self.expires_at) <= now


class KeyStanding(NamedTuple):
    """A key that a token was derived from."""

    organization_id: UUID | None
    scopes: list[str]
    environment: str | None
    allowed_cidrs: list[str]
    expires_at: datetime | None
    is_token_revoked: bool

    def has_ended(self, now: datetime) -> bool:
        """Tell whether the key has expired."""
        return self.expires_at is not None and self.expires_at <= now


class ClientStanding(NamedTuple):
    """A client that speaks for itself."""

    organization_id: UUID | None
    scopes: list[str]
    is_token_revoked: bool


_JTI: BindParameter[str] = bindparam("jti")
_IS_REVOKED = exists().where(RevokedToken.jti == _JTI).label("is_token_revoked")


def _place() -> ScalarSelect[UUID]:
    """Return the organization that is asked for, else the grant's, else, for own sign-in, the first one joined."""
    other = aliased(Membership)
    return (
        select(other.organization_id)
        .where(
            other.user_id == Grant.user_id,
            or_(Grant.client_id.is_(None), other.organization_id == Grant.organization_id),
        )
        .order_by(
            case((other.organization_id == Grant.organization_id, 0), else_=1),
            other.created_at,
            other.organization_id,
        )
        .limit(1)
        .correlate(Grant)
        .scalar_subquery()
    )


_ASKED: BindParameter[UUID] = bindparam("organization")
_GRANT = (
    select(
        Grant.user_id,
        Grant.client_id,
        Grant.organization_id.label("bound_to"),
        Membership.organization_id,
        Membership.role,
        Grant.expires_at,
        Session.expires_at.label("session_expires_at"),
        User.email.label("username"),
        _IS_REVOKED,
    )
    .join(User, and_(User.id == Grant.user_id, User.disabled_at.is_(None)))
    .outerjoin(Session, Session.id == Grant.session_id)
    .where(Grant.id == bindparam("grant"))
)
_GRANT_ANYWHERE = _GRANT.outerjoin(
    Membership, and_(Membership.user_id == Grant.user_id, Membership.organization_id == _place())
)
_GRANT_SOMEWHERE = _GRANT.outerjoin(
    Membership, and_(Membership.user_id == Grant.user_id, Membership.organization_id == _ASKED)
)
_KEY = select(
    ApiKey.organization_id,
    ApiKey.scopes,
    ApiKey.environment,
    ApiKey.allowed_cidrs,
    ApiKey.expires_at,
    _IS_REVOKED,
).where(ApiKey.id == bindparam("id"))
_CLIENT = select(OAuthClient.organization_id, OAuthClient.scopes, _IS_REVOKED).where(
    OAuthClient.id == bindparam("id")
)


class AccessRepository:
    """Reads where the subjects of tokens stand."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def find_grant(
        self, grant_id: UUID, *, jti: str, organization_id: UUID | None = None
    ) -> GrantStanding | None:
        """Return a grant's standing in the organization asked for, or where it serves by itself."""
        values: dict[str, object] = {"grant": grant_id, "jti": jti}
        if organization_id is None:
            row = await self._reads.find(_GRANT_ANYWHERE, values)
        else:
            row = await self._reads.find(_GRANT_SOMEWHERE, {**values, "organization": organization_id})
        return None if row is None else GrantStanding._make(row)

    async def find_key(self, key_id: UUID, *, jti: str) -> KeyStanding | None:
        """Return a key's standing."""
        row = await self._reads.find(_KEY, {"id": key_id, "jti": jti})
        return None if row is None else KeyStanding._make(row)

    async def find_client(self, client_id: UUID, *, jti: str) -> ClientStanding | None:
        """Return a client's standing."""
        row = await self._reads.find(_CLIENT, {"id": client_id, "jti": jti})
        return None if row is None else ClientStanding._make(row)
