"""`/v1/users`: registering, for everybody; people, for the operator."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from undercroft.identity.dependencies.accounts import WiringDep
from undercroft.identity.dependencies.callers import IfMatch, Operator
from undercroft.identity.dependencies.devices import DeviceDep
from undercroft.identity.dependencies.members import InvitationServiceDep
from undercroft.identity.models.users import User
from undercroft.identity.schemas.users import (
    UserCreate,
    UserId,
    UserPage,
    UserRead,
    UserRegistered,
    UserUpdate,
)
from undercroft.shared.auth import public
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.pagination import PageParamsDep
from undercroft.shared.preconditions import etag_for

router = APIRouter(prefix="/v1/users", tags=["users"], route_class=ServiceRoute)


@router.post("", status_code=201)
@public
async def register(
    body: UserCreate, wiring: WiringDep, invitations: InvitationServiceDep, device: DeviceDep
) -> UserRegistered:
    """Register. A mail with a link follows; the account exists once the link was followed.

    The answer is the same for an address that has an account: its owner gets a mail that says so. With an
    `invitation` to this address the account is made at once, and 409 `email_taken` says that there is one.
    """
    if body.invitation is not None:
        user = await invitations.register(body.invitation, body, device=device)
        return UserRegistered(id=user.id, email=user.email, name=user.name, email_verified=True)
    user_id = await wiring.registrations.register(body, device=device)
    return UserRegistered(id=user_id, email=body.email, name=body.name, email_verified=False)


@router.get("")
async def list_users(
    _: Operator,
    wiring: WiringDep,
    page: PageParamsDep,
    email: Annotated[str | None, Query(max_length=1_000, description="Whoever has this address.")] = None,
) -> UserPage:
    """List people, oldest first."""
    return UserPage.of(await wiring.people.list(page, email=email))


@router.get("/{user_id}")
async def get_user(user_id: UserId, _: Operator, wiring: WiringDep, response: Response) -> UserRead:
    """Read a person."""
    return _show(await wiring.people.get(user_id), response)


@router.patch("/{user_id}")
async def update_user(
    user_id: UserId,
    body: UserUpdate,
    *,
    principal: Operator,
    wiring: WiringDep,
    response: Response,
    if_match: IfMatch = None,
) -> UserRead:
    """Rename, disable or enable a person. Disabling ends sessions, grants and tokens at once."""
    user = await wiring.people.update(user_id, body, principal=principal, if_match=if_match)
    return _show(user, response)


@router.delete("/{user_id}", status_code=204)
async def delete_user(
    user_id: UserId, principal: Operator, wiring: WiringDep, if_match: IfMatch = None
) -> None:
    """Delete a person; 409 `sole_owner` while an organization would be left without an owner."""
    await wiring.people.delete(user_id, principal=principal, if_match=if_match)


def _show(user: User, response: Response) -> UserRead:
    response.headers["ETag"] = etag_for(user.revision)
    return UserRead.model_validate(user)
