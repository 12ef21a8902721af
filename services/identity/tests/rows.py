"""Builders of people, their places, sessions and grants, straight into the tables."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from undercroft.identity.models.organizations import Membership, Organization
from undercroft.identity.models.sessions import Grant, Session
from undercroft.identity.models.users import User
from undercroft.shared.db import Database
from undercroft.shared.ids import new_uuid7
from undercroft.shared.tokens import hash_token


async def add_user(database: Database, **values: object) -> UUID:
    """Add a person."""
    user_id = new_uuid7()
    email = f"{user_id}@example.com"
    members = {"email": email, "email_key": email, "name": "Ada Lovelace", **values}
    async with database.begin() as session:
        session.add(User(id=user_id, **members))
    return user_id


async def add_organization(database: Database, user_id: UUID | None = None, role: str = "owner") -> UUID:
    """Add an organization, with a member."""
    organization_id = new_uuid7()
    async with database.begin() as session:
        session.add(Organization(id=organization_id, name="Acme"))
        await session.flush()
        if user_id is not None:
            session.add(Membership(organization_id=organization_id, user_id=user_id, role=role))
    return organization_id


async def add_session(database: Database, user_id: UUID, secret: str = "cookie", **values: object) -> UUID:
    """Add a device on which somebody is signed in."""
    session_id, now = new_uuid7(), datetime.now(UTC)
    members: dict[str, object] = {
        "methods": ["pwd"],
        "authenticated_at": now,
        "user_agent": "tests",
        "address": "192.0.2.1",
        "expires_at": now + timedelta(days=1),
        **values,
    }
    async with database.begin() as session:
        session.add(Session(id=session_id, user_id=user_id, secret_hash=hash_token(secret), **members))
    return session_id


async def add_grant(
    database: Database, user_id: UUID, *, scopes: Sequence[str] = ("identity:read",), **values: object
) -> UUID:
    """Add a grant."""
    grant_id, now = new_uuid7(), datetime.now(UTC)
    members: dict[str, object] = {
        "methods": ["pwd"],
        "authenticated_at": now,
        "expires_at": now + timedelta(days=1),
        **values,
    }
    async with database.begin() as session:
        session.add(Grant(id=grant_id, user_id=user_id, scopes=list(scopes), **members))
    return grant_id
