"""What is refused about members and invitations.

ServiceError
├── ForbiddenError 403
│   ├── OwnerRequiredError          owner_required
│   ├── OperatorRequiredError       operator_required
│   └── OtherAddressInvitedError    other_address_invited
├── NotFoundError 404
│   ├── MemberNotFoundError         member_not_found
│   └── InvitationNotFoundError     invitation_not_found
└── ConflictError 409
    ├── LastOwnerError              last_owner
    ├── AlreadyMemberError          already_member
    ├── AlreadyInvitedError         already_invited
    └── InvitationLimitError        invitation_limit_reached
"""

from undercroft.shared.errors import ConflictError, ForbiddenError, NotFoundError


class OwnerRequiredError(ForbiddenError):
    """Only an owner appoints or removes owners and deletes the organization."""

    code = "owner_required"


class OperatorRequiredError(ForbiddenError):
    """Only the operator does this here."""

    code = "operator_required"


class OtherAddressInvitedError(ForbiddenError):
    """The invitation is for somebody with another address."""

    code = "other_address_invited"


class MemberNotFoundError(NotFoundError):
    """There is no such member."""

    code = "member_not_found"


class InvitationNotFoundError(NotFoundError):
    """There is no such invitation, or not for this caller; accepted, withdrawn and expired ones are gone."""

    code = "invitation_not_found"


class LastOwnerError(ConflictError):
    """An organization is never without an owner."""

    code = "last_owner"


class AlreadyMemberError(ConflictError):
    """Whoever has this address is a member already."""

    code = "already_member"


class AlreadyInvitedError(ConflictError):
    """This address has an invitation already."""

    code = "already_invited"


class InvitationLimitError(ConflictError):
    """There are as many open invitations as settings allow."""

    code = "invitation_limit_reached"
