"""Where people are signed in, and what was granted to whom on their behalf."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, ForeignKey, Index, LargeBinary, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from undercroft.identity.models.base import Base
from undercroft.shared.ids import new_uuid7


class Session(Base):
    """A device on which somebody is signed in; deleting the row signs it out.

    `secret_hash` is the SHA-256 of the cookie. `methods` are the `amr` values (RFC 8176) of the last authentication,
    which happened at `authenticated_at`.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_user_id_id", "user_id", "id"),
        Index("ix_sessions_expires_at", "expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_uuid7)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    methods: Mapped[list[str]] = mapped_column(ARRAY(Text))
    authenticated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    user_agent: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    last_seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Grant(Base):
    """What somebody allowed a client, or this service's own sign-in when there is no client.

    Access and refresh tokens name it; deleting the row ends them all. A grant with a session ends with it; one with
    `offline_access` has none and outlives it. `requested_claims` are the names that the `claims` parameter asked for
    (OpenID Connect Core section 5.5), by where they are delivered.
    """

    __tablename__ = "grants"
    __table_args__ = (
        Index("ix_grants_user_id_client_id", "user_id", "client_id"),
        Index("ix_grants_client_id", "client_id"),
        Index("ix_grants_session_id", "session_id"),
        Index("ix_grants_organization_id", "organization_id"),
        Index("ix_grants_expires_at", "expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_uuid7)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    client_id: Mapped[UUID | None] = mapped_column(ForeignKey("oauth_clients.id", ondelete="CASCADE"))
    session_id: Mapped[UUID | None] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    organization_id: Mapped[UUID | None] = mapped_column(ForeignKey("organizations.id", ondelete="SET NULL"))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    requested_claims: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    resources: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    methods: Mapped[list[str]] = mapped_column(ARRAY(Text))
    authenticated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    nonce: Mapped[str | None] = mapped_column(Text)
    dpop_thumbprint: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class RefreshToken(Base):
    """One token of a grant's family. `successor` is the next token, sealed, for whoever lost the answer."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (Index("ix_refresh_tokens_expires_at", "expires_at"),)

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(ForeignKey("grants.id", ondelete="CASCADE"), index=True)
    used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    successor: Mapped[bytes | None] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
