"""`/v1/sessions`: signing in, the devices of one's own, signing out."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from undercroft.identity.dependencies.accounts import PersonDep, WiringDep
from undercroft.identity.dependencies.devices import DeviceDep, forget_sign_in, remember_sign_in
from undercroft.identity.dependencies.front_door import FrontDoorDep
from undercroft.identity.dependencies.passkeys import PasskeyServiceDep
from undercroft.identity.models.sessions import Session
from undercroft.identity.schemas.sessions import (
    PasskeyOptions,
    SessionCreate,
    SessionCreated,
    SessionId,
    SessionPage,
    SessionRead,
)
from undercroft.shared.auth import public
from undercroft.shared.idempotency import ServiceRoute
from undercroft.shared.ids import TypeId
from undercroft.shared.pagination import PageParamsDep

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=ServiceRoute)


@router.post("", status_code=201)
@public
async def sign_in(
    body: SessionCreate, door: FrontDoorDep, device: DeviceDep, request: Request, response: Response
) -> SessionCreated:
    """Sign in. 401 `second_factor_required` asks for `totp` or `recoveryCode` in addition."""
    signed_in, pair = await door.enter(body, device=device)
    session = signed_in.session
    remember_sign_in(request, response, signed_in)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"{router.prefix}/{TypeId('ses', session.id)}"
    return SessionCreated(
        id=session.id,
        user_id=session.user_id,
        access_token=pair.access_token,
        token_type=pair.token_type,
        expires_in=pair.expires_in,
        refresh_token=pair.refresh_token,
        scope=pair.scope,
        methods=list(session.methods),
        expires_at=session.expires_at,
    )


@router.post("/passkey-options")
@public
async def passkey_sign_in_options(passkeys: PasskeyServiceDep, response: Response) -> PasskeyOptions:
    """Return the options with which a browser asks for a passkey; `state` goes back with its answer."""
    response.headers["Cache-Control"] = "no-store"
    return passkeys.sign_in_options()


@router.get("")
async def list_sessions(person: PersonDep, wiring: WiringDep, page: PageParamsDep) -> SessionPage:
    """List the devices on which you are signed in, oldest first."""
    current = await wiring.sessions.current(person)
    found = await wiring.sessions.list(page, user_id=person.user_id)
    return SessionPage(
        items=[_show(session, current) for session in found.items], next_cursor=found.next_cursor
    )


@router.delete("/{session_id}", status_code=204)
async def sign_out(
    session_id: SessionId, person: PersonDep, wiring: WiringDep, request: Request, response: Response
) -> None:
    """Sign out one device. Its tokens stop working at once."""
    if await wiring.sessions.current(person) == session_id:
        forget_sign_in(request, response)
    await wiring.sessions.end(session_id, user_id=person.user_id)


@router.delete("", status_code=204)
async def sign_out_everywhere(
    person: PersonDep, wiring: WiringDep, request: Request, response: Response
) -> None:
    """Sign out every device, this one too."""
    forget_sign_in(request, response)
    await wiring.sessions.end_all(person.user_id, actor=str(TypeId("usr", person.user_id)))


def _show(session: Session, current: UUID | None) -> SessionRead:
    members = {name: getattr(session, name) for name in SessionRead.model_fields if name != "is_current"}
    return SessionRead(**members, is_current=session.id == current)
