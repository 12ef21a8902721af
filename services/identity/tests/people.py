"""Builders of people: registered, confirmed by mail and signed in, as their browser or client would do it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from uuid import UUID

import httpx
from fastapi import FastAPI
from services.identity.tests.factories import OPERATOR
from sqlalchemy import select

from undercroft.identity.models.base import outbox
from undercroft.identity.models.organizations import Membership
from undercroft.identity.models.sessions import Grant, Session
from undercroft.identity.models.users import User
from undercroft.identity.worker.mails import MailRoom
from undercroft.shared.auth import Principal
from undercroft.shared.db import Database
from undercroft.shared.ids import TypeId, new_uuid7
from undercroft.shared.testing import principal_headers

PASSWORD = "a quiet vault of stone"
ADA = "ada@example.com"
# Scopes that the gateway hands on for an owner who signed in here.
OWN_SCOPES = ("account", "identity:read", "identity:write", "identity:api_keys")

_LINK_TOKEN = re.compile(r"token=([A-Za-z0-9_-]{43})")


class Mailbox:
    """Takes mails instead of a server; raises what it is told to, once each."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.messages: list[EmailMessage] = []

    async def send(self, message: EmailMessage) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.messages.append(message)


async def mails_of(app: FastAPI) -> list[EmailMessage]:
    """Send every mail that waits and return what was sent."""
    mailbox = Mailbox()
    room = MailRoom(app.state.database, app.state.settings, mailbox, batch=1)
    while await room.send_due():
        pass
    return mailbox.messages


def text_of(message: EmailMessage) -> str:
    """The plain text of a mail."""
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def token_in(message: EmailMessage) -> str:
    """The token of a mail's link."""
    found = _LINK_TOKEN.search(text_of(message))
    assert found is not None
    return found[1]


async def register(client: httpx.AsyncClient, email: object = ADA, **members: object) -> httpx.Response:
    """Register somebody."""
    body = {"email": email, "password": PASSWORD, "name": "Ada Lovelace", **members}
    return await client.post("/v1/users", json=body)


async def confirmed(client: httpx.AsyncClient, app: FastAPI, email: str = ADA, **members: object) -> str:
    """Register somebody, follow the link in the mail and return the user's id."""
    registered = await register(client, email, **members)
    assert registered.status_code == 201, registered.text
    (message,) = [each for each in await mails_of(app) if each["To"] == email]
    verified = await client.put(f"/v1/email-verifications/{token_in(message)}")
    assert verified.status_code == 200, verified.text
    return str(verified.json()["id"])


async def sign_in(client: httpx.AsyncClient, email: str = ADA, **members: object) -> httpx.Response:
    """Sign somebody in by password; cookies do not stay with the client."""
    answer = await client.post("/v1/sessions", json={"email": email, "password": PASSWORD, **members})
    client.cookies.clear()
    return answer


def bearer(
    user_id: str, *scopes: str, grant_id: str | None = None, organization_id: str | None = None
) -> Mapping[str, str]:
    """Headers of a person as the gateway makes them."""
    organization = None if organization_id is None else TypeId.parse(organization_id, expect="org").uuid
    principal = Principal(
        subject=user_id,
        kind="user",
        organization_id=organization,
        scopes=frozenset(scopes or OWN_SCOPES),
        grant_id=grant_id,
    )
    return principal_headers(principal, audience="identity")


async def add_user(database: Database, email: str = ADA, **values: object) -> str:
    """Insert a confirmed user without a password and return the id."""
    user = User(
        id=new_uuid7(),
        email=email,
        email_key=email.lower(),
        email_verified_at=datetime.now(UTC),
        name="Ada Lovelace",
        **values,
    )
    async with database.begin() as session:
        session.add(user)
    return str(TypeId("usr", user.id))


async def add_session(
    database: Database,
    user_id: str,
    *,
    age: timedelta = timedelta(0),
    expires_in: timedelta = timedelta(days=1),
) -> tuple[str, str]:
    """Insert a session with a grant of one's own sign-in; returns the ids of both."""
    now = datetime.now(UTC)
    owner = uuid_of(user_id)
    device = Session(
        id=new_uuid7(),
        user_id=owner,
        secret_hash=new_uuid7().bytes,
        methods=["pwd"],
        authenticated_at=now - age,
        user_agent="Test",
        address="192.0.2.1",
        expires_at=now + expires_in,
    )
    grant = Grant(
        id=new_uuid7(),
        user_id=owner,
        session_id=device.id,
        scopes=["account"],
        methods=["pwd"],
        authenticated_at=now - age,
        expires_at=now + timedelta(days=1),
    )
    async with database.begin() as session:
        session.add(device)
        await session.flush()
        session.add(grant)
    return str(TypeId("ses", device.id)), str(TypeId("grt", grant.id))


async def add_member(database: Database, organization_id: str, user_id: str, role: str) -> None:
    """Insert a membership."""
    membership = Membership(organization_id=uuid_of(organization_id), user_id=uuid_of(user_id), role=role)
    async with database.begin() as session:
        session.add(membership)


async def signed_in(
    client: httpx.AsyncClient, app: FastAPI, email: str = ADA
) -> tuple[str, Mapping[str, str]]:
    """A user with a recent session; returns the id and the headers of their access token."""
    database: Database = app.state.database
    user_id = await confirmed(client, app, email)
    _, grant_id = await add_session(database, user_id)
    return user_id, bearer(user_id, grant_id=grant_id)


def uuid_of(type_id: str) -> UUID:
    """The UUID of a TypeID."""
    return TypeId.parse(type_id).uuid


async def happenings(database: Database) -> list[tuple[str, str, str]]:
    """Type, subject and actor of every event, in order."""
    async with database.session() as session:
        rows = await session.execute(select(outbox).order_by(outbox.c.sequence))
        return [(row.type.removeprefix("dev.undercroft."), row.subject, row.actor) for row in rows]


async def change_user(client: httpx.AsyncClient, user_id: str, **members: object) -> httpx.Response:
    """Change a user as the operator."""
    return await client.patch(f"/v1/users/{user_id}", json=members, headers=OPERATOR)
