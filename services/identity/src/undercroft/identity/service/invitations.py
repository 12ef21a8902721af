"""Inviting people by mail; accepted by whoever has the address, as a user or by registering."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from undercroft.identity.domain.attempts import AttemptLimit
from undercroft.identity.domain.emails import email_key
from undercroft.identity.domain.link_secrets import hash_of, new_secret, secret_hash
from undercroft.identity.domain.mails import MailKind
from undercroft.identity.domain.roles import Role
from undercroft.identity.domain.sign_in import Device, Person
from undercroft.identity.errors.members import (
    AlreadyMemberError,
    InvitationLimitError,
    InvitationNotFoundError,
    OtherAddressInvitedError,
)
from undercroft.identity.errors.payload import refused_member
from undercroft.identity.events.members import InvitationHappening, invitation_event, member_event
from undercroft.identity.events.users import user_subject
from undercroft.identity.models.organizations import Invitation, Membership, Organization
from undercroft.identity.models.users import User
from undercroft.identity.repository.events import EventRepository
from undercroft.identity.repository.invitations import InvitationRepository
from undercroft.identity.repository.memberships import MembershipRepository
from undercroft.identity.repository.organizations import OrganizationRepository
from undercroft.identity.repository.users import UserRepository
from undercroft.identity.schemas.members import InvitationCreate, InvitationSeen
from undercroft.identity.schemas.users import UserCreate
from undercroft.identity.service.attempts import Attempts
from undercroft.identity.service.members import Authority, own_user_id
from undercroft.identity.service.postbox import Postbox
from undercroft.identity.service.registrations import RegistrationService
from undercroft.shared.auth import Principal
from undercroft.shared.ids import new_uuid7
from undercroft.shared.pagination import Page, PageParams


@dataclass(frozen=True, slots=True)
class InvitationPolicy:
    """What settings say about invitations."""

    life: timedelta
    most: int
    limit: AttemptLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationTools:
    """What inviting works with."""

    invitations: InvitationRepository
    memberships: MembershipRepository
    organizations: OrganizationRepository
    users: UserRepository
    events: EventRepository
    postbox: Postbox
    attempts: Attempts
    registrations: RegistrationService


class InvitationService:
    """Use cases of invitations."""

    def __init__(
        self, tools: InvitationTools, policy: InvitationPolicy, *, clock: Callable[[], datetime]
    ) -> None:
        self._tools = tools
        self._policy = policy
        self._authority = Authority(tools.memberships)
        self._clock = clock

    async def create(
        self, organization_id: UUID, new: InvitationCreate, *, principal: Principal
    ) -> Invitation:
        """Invite somebody.

        Raises `OwnerRequiredError` for a future owner, `AlreadyMemberError`, `AlreadyInvitedError` and
        `InvitationLimitError`.
        """
        principal.require_organization(organization_id)
        organization = await self._tools.organizations.get_locked(organization_id)
        await self._require_may_invite(new.role, organization_id, principal)
        key, now = email_key(new.email), self._clock()
        if await self._tools.memberships.find_by_email(organization_id, key) is not None:
            raise AlreadyMemberError("Whoever has this address is a member already.")
        await self._tools.invitations.remove_expired(organization_id, key, now=now)
        if await self._tools.invitations.count(organization_id, now=now) >= self._policy.most:
            raise InvitationLimitError(f"There are {self._policy.most} open invitations already.")
        token = new_secret()
        invitation = Invitation(
            id=new_uuid7(),
            organization_id=organization_id,
            email=new.email,
            email_key=key,
            role=new.role,
            token_hash=hash_of(token),
            invited_by=principal.subject,
            expires_at=now + self._policy.life,
        )
        await self._tools.invitations.add(invitation)
        await self._mail(invitation, organization, token, principal=principal)
        await self._tell("created", invitation, actor=principal.subject)
        return invitation

    async def list(
        self, page: PageParams, *, organization_id: UUID, principal: Principal
    ) -> Page[Invitation]:
        """Return a page of open invitations."""
        principal.require_organization(organization_id)
        await self._tools.organizations.get(organization_id)
        return await self._tools.invitations.list(page, organization_id=organization_id, now=self._clock())

    async def withdraw(self, invitation_of: tuple[UUID, UUID], *, principal: Principal) -> None:
        """Withdraw (organization, invitation); its link opens nothing any more."""
        invitation = await self._get_locked(invitation_of, principal=principal)
        await self._tools.invitations.take(invitation.id)
        await self._tell("withdrawn", invitation, actor=principal.subject)

    async def send_again(self, invitation_of: tuple[UUID, UUID], *, principal: Principal) -> Invitation:
        """Send (organization, invitation) again with a new link and a new life; the old link ends."""
        invitation = await self._get_locked(invitation_of, principal=principal)
        await self._require_may_invite(Role(invitation.role), invitation.organization_id, principal)
        organization = await self._tools.organizations.get(invitation.organization_id)
        token = new_secret()
        invitation.token_hash = hash_of(token)
        invitation.expires_at = self._clock() + self._policy.life
        await self._tools.invitations.save()
        await self._mail(invitation, organization, token, principal=principal)
        return invitation

    async def see(self, token: str) -> InvitationSeen:
        """Return what an invitation is about; raises `InvitationNotFoundError`."""
        invitation = await self._get_by_token(token)
        organization = await self._tools.organizations.get(invitation.organization_id)
        owner = await self._tools.users.find_by_email(invitation.email_key)
        return InvitationSeen(
            organization_id=organization.id,
            organization_name=organization.name,
            email=invitation.email,
            role=Role(invitation.role),
            has_account=owner is not None,
            expires_at=invitation.expires_at,
        )

    async def accept(self, token: str, *, person: Person) -> Membership:
        """Accept as somebody signed in, whose address must be the invited one.

        Raises `InvitationNotFoundError`, `OtherAddressInvitedError` and `AlreadyMemberError`.
        """
        invitation = await self._get_by_token(token)
        user = await self._tools.users.get(person.user_id)
        if user.email_key != invitation.email_key:
            raise OtherAddressInvitedError(f"This invitation is for {invitation.email}.")
        return await self._join(invitation, user.id)

    async def register(self, token: str, new: UserCreate, *, device: Device) -> User:
        """Register with an invitation: its link proves the address, so the account is made at once.

        Raises what `accept` raises, `EmailTakenError`, and what choosing a password raises.
        """
        if new.organization is not None:
            raise refused_member("#/organization", "You join one by the invitation.", "not_with_invitation")
        await self._tools.attempts.begin(self._policy.limit, device.address)
        user = await self._tools.registrations.new_user(email=new.email, name=new.name, password=new.password)
        invitation = await self._get_by_token(token)
        if user.email_key != invitation.email_key:
            raise OtherAddressInvitedError("This invitation is for another address.")
        await self._tools.registrations.add_user(user)
        await self._join(invitation, user.id)
        return user

    async def _join(self, invitation: Invitation, user_id: UUID) -> Membership:
        organization_id = invitation.organization_id
        await self._tools.organizations.get_locked(organization_id)
        if not await self._tools.invitations.take(invitation.id):
            raise InvitationNotFoundError("The invitation was accepted or withdrawn meanwhile.")
        if await self._tools.memberships.find(organization_id, user_id) is not None:
            raise AlreadyMemberError("You are a member already.")
        membership = Membership(organization_id=organization_id, user_id=user_id, role=invitation.role)
        await self._tools.memberships.add(membership)
        actor = user_subject(user_id)
        await self._tell("accepted", invitation, actor=actor)
        await self._tools.events.add(
            member_event(
                "added",
                organization_id=organization_id,
                user_id=user_id,
                role=invitation.role,
                actor=actor,
            )
        )
        return membership

    async def _require_may_invite(self, role: Role, organization_id: UUID, principal: Principal) -> None:
        if role == Role.OWNER:
            await self._authority.require_owner(principal, organization_id)

    async def _get_by_token(self, token: str) -> Invitation:
        hashed = secret_hash(token)
        if hashed is None:
            raise InvitationNotFoundError(
                "There is no such invitation; it may be used, withdrawn or expired."
            )
        return await self._tools.invitations.get_by_token(hashed, now=self._clock())

    async def _get_locked(self, invitation_of: tuple[UUID, UUID], *, principal: Principal) -> Invitation:
        organization_id, invitation_id = invitation_of
        principal.require_organization(organization_id)
        return await self._tools.invitations.get_locked(
            invitation_id, organization_id=organization_id, now=self._clock()
        )

    async def _mail(
        self, invitation: Invitation, organization: Organization, token: str, *, principal: Principal
    ) -> None:
        user_id = own_user_id(principal)
        inviter = "" if user_id is None else (await self._tools.users.get(user_id)).name
        await self._tools.postbox.put(
            invitation.email,
            MailKind.INVITATION,
            organization=organization.name,
            inviter=inviter,
            role=invitation.role,
            token=token,
        )

    async def _tell(self, happening: InvitationHappening, invitation: Invitation, *, actor: str) -> None:
        await self._tools.events.add(
            invitation_event(
                happening,
                invitation.id,
                organization_id=invitation.organization_id,
                role=invitation.role,
                actor=actor,
            )
        )
