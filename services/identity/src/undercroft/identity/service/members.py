"""Who belongs to an organization, and as what. Only owners appoint and remove owners; one always remains."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from undercroft.identity.domain.roles import Role
from undercroft.identity.errors.members import LastOwnerError, MemberNotFoundError, OwnerRequiredError
from undercroft.identity.events.members import member_event
from undercroft.identity.models.organizations import Membership
from undercroft.identity.models.users import User
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.memberships import MembershipRepository
from undercroft.identity.repository.organizations import OrganizationRepository
from undercroft.identity.schemas.members import MemberRead
from undercroft.shared.auth import Principal
from undercroft.shared.errors import ForbiddenError
from undercroft.shared.ids import InvalidIdError, TypeId
from undercroft.shared.pagination import Page, PageParams
from undercroft.shared.preconditions import check_if_match, etag_for


class Authority:
    """As what a caller acts in an organization: a member as their role, the operator as an owner, a key as an admin."""

    def __init__(self, memberships: MembershipRepository) -> None:
        self._memberships = memberships

    async def role_of(self, principal: Principal, organization_id: UUID) -> Role:
        """Return the role; raises `NotFoundError` for somebody else's organization."""
        principal.require_organization(organization_id)
        if principal.is_operator:
            return Role.OWNER
        user_id = own_user_id(principal)
        if user_id is None:
            return Role.ADMIN
        membership = await self._memberships.find(organization_id, user_id)
        if membership is None:  # removed since the gateway looked
            raise MemberNotFoundError("You are not a member of this organization any more.")
        return Role(membership.role)

    async def require_owner(self, principal: Principal, organization_id: UUID) -> None:
        """Raise `OwnerRequiredError` unless the caller acts as an owner."""
        if await self.role_of(principal, organization_id) != Role.OWNER:
            raise OwnerRequiredError("Only an owner of the organization does this.")


class MemberService:
    """Use cases of members. Every change holds the organization's row, so that two owners cannot leave at once."""

    def __init__(
        self,
        memberships: MembershipRepository,
        organizations: OrganizationRepository,
        events: EventRepository,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._memberships = memberships
        self._organizations = organizations
        self._events = events
        self._authority = Authority(memberships)
        self._clock = clock

    async def list(
        self, page: PageParams, *, organization_id: UUID, principal: Principal
    ) -> Page[MemberRead]:
        """Return a page of members; raises `OrganizationNotFoundError`."""
        principal.require_organization(organization_id)
        await self._organizations.get(organization_id)
        found = await self._memberships.list(page, organization_id=organization_id)
        users = await self._memberships.users_of(found.items)
        items = [_read(membership, users[membership.user_id]) for membership in found.items]
        return Page[MemberRead](items=items, next_cursor=found.next_cursor)

    async def get(self, membership_of: tuple[UUID, UUID], *, principal: Principal) -> tuple[MemberRead, int]:
        """Return (organization, user) and its revision; raises `MemberNotFoundError`."""
        organization_id, user_id = membership_of
        principal.require_organization(organization_id)
        membership = await self._memberships.get(organization_id, user_id)
        users = await self._memberships.users_of([membership])
        return _read(membership, users[user_id]), membership.revision

    async def change_role(
        self,
        membership_of: tuple[UUID, UUID],
        role: Role,
        *,
        principal: Principal,
        if_match: str | None = None,
    ) -> Membership:
        """Change the role of (organization, user).

        Raises `MemberNotFoundError`, `OwnerRequiredError`, `LastOwnerError` and `PreconditionFailedError`.
        """
        membership = await self._get_locked(membership_of, principal=principal, if_match=if_match)
        if Role.OWNER in (role, membership.role):
            await self._authority.require_owner(principal, membership.organization_id)
        if membership.role == role:
            return membership
        if membership.role == Role.OWNER:
            await self._require_another_owner(membership.organization_id)
        membership.role = role
        membership.revision += 1
        membership.updated_at = self._clock()
        await self._memberships.save()
        await self._events.add(
            member_event(
                "role_changed",
                organization_id=membership.organization_id,
                user_id=membership.user_id,
                role=role,
                actor=principal.subject,
            )
        )
        return membership

    async def remove(
        self, membership_of: tuple[UUID, UUID], *, principal: Principal, if_match: str | None = None
    ) -> None:
        """Remove (organization, user); everybody may leave. Raises what `change_role` raises, and `ForbiddenError`."""
        is_leaving = own_user_id(principal) == membership_of[1]
        if not is_leaving and not principal.has_scope("identity:write"):
            principal.require_organization(membership_of[0])
            raise ForbiddenError("This needs the scope identity:write.", code="insufficient_scope")
        membership = await self._get_locked(membership_of, principal=principal, if_match=if_match)
        if membership.role == Role.OWNER:
            await self._authority.require_owner(principal, membership.organization_id)
            await self._require_another_owner(membership.organization_id)
        await self._memberships.remove(membership)
        await self._events.add(
            member_event(
                "removed",
                organization_id=membership.organization_id,
                user_id=membership.user_id,
                role=membership.role,
                actor=principal.subject,
            )
        )

    async def _get_locked(
        self, membership_of: tuple[UUID, UUID], *, principal: Principal, if_match: str | None
    ) -> Membership:
        organization_id, user_id = membership_of
        principal.require_organization(organization_id)
        await self._organizations.get_locked(organization_id)
        membership = await self._memberships.get(organization_id, user_id)
        check_if_match(if_match, etag_for(membership.revision))
        return membership

    async def _require_another_owner(self, organization_id: UUID) -> None:
        if await self._memberships.count_owners(organization_id) == 1:
            raise LastOwnerError("An organization always has an owner: appoint another one first.")


def _read(membership: Membership, user: User) -> MemberRead:
    return MemberRead(
        user_id=membership.user_id,
        email=user.email,
        name=user.name,
        role=Role(membership.role),
        is_disabled=user.is_disabled,
        created_at=membership.created_at,
        updated_at=membership.updated_at,
    )


def own_user_id(principal: Principal) -> UUID | None:
    """Return which user a principal is, None for keys, clients and services."""
    if principal.kind != "user":
        return None
    try:
        return TypeId.parse(principal.subject, expect="usr").uuid
    except InvalidIdError:
        return None
