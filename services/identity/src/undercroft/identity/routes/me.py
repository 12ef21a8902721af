"""`/v1/me`: one's own account."""

from fastapi import APIRouter, Request, Response

from undercroft.identity.dependencies.accounts import PersonDep, ProfileServiceDep, WiringDep
from undercroft.identity.dependencies.callers import IfMatch
from undercroft.identity.dependencies.devices import forget_sign_in
from undercroft.identity.models.users import User
from undercroft.identity.repository.profiles import Profile
from undercroft.identity.schemas.users import (
    EmailChange,
    MembershipOfMine,
    MembershipsOfMine,
    MeRead,
    MeUpdate,
    PasswordChange,
)
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.preconditions import etag_for

router = APIRouter(prefix="/v1/me", tags=["me"], route_class=ServiceRoute)


@router.get("")
async def get_me(person: PersonDep, profiles: ProfileServiceDep, response: Response) -> MeRead:
    """Read your account."""
    return _show(await profiles.read(person.user_id), response)


@router.patch("")
async def update_me(
    body: MeUpdate, person: PersonDep, wiring: WiringDep, response: Response, if_match: IfMatch = None
) -> MeRead:
    """Change your name, language or time zone; members that are absent stay as they are."""
    return _show(await wiring.accounts.update(person, body, if_match=if_match), response)


@router.delete("", status_code=204)
async def delete_me(person: PersonDep, wiring: WiringDep, request: Request, response: Response) -> None:
    """Delete your account. Needs a recent sign-in; 409 `sole_owner` while an organization has no other owner."""
    await wiring.accounts.delete(person)
    forget_sign_in(request, response)


@router.post("/password", status_code=204)
async def change_password(body: PasswordChange, person: PersonDep, wiring: WiringDep) -> None:
    """Change your password. Every other device is signed out."""
    await wiring.passwords.change(person, current=body.current_password, new=body.new_password)


@router.post("/email", status_code=202)
async def change_email(body: EmailChange, person: PersonDep, wiring: WiringDep) -> Response:
    """Ask for a mail to a new address; the old one stays until its link was followed."""
    await wiring.accounts.ask_for_address(person, email=body.email, password=body.password)
    return Response(status_code=202)


@router.get("/memberships")
async def list_my_memberships(person: PersonDep, wiring: WiringDep) -> MembershipsOfMine:
    """List the organizations that you belong to, and your role in each."""
    return MembershipsOfMine(
        items=[
            MembershipOfMine(
                organization_id=belonging.organization.id,
                organization_name=belonging.organization.name,
                role=belonging.membership.role,
                since=belonging.membership.created_at,
            )
            for belonging in await wiring.accounts.memberships(person.user_id)
        ]
    )


def _show(user: User | Profile, response: Response) -> MeRead:
    response.headers["ETag"] = etag_for(user.revision)
    return MeRead.model_validate(user)
