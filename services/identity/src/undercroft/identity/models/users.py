"""People: their accounts, second factors, the tokens mailed to them, and mail that waits to be sent."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, DateTime, ForeignKey, Index, Integer, LargeBinary, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from undercroft.identity.models.base import Base
from undercroft.shared.ids import new_uuid7


class User(Base):
    """A person. `email_key` is the address as it is compared; `email` as it was typed.

    `totp_secret` is sealed; it counts once `totp_enabled_at` is set. `totp_last_step` is the last time step that
    was used, so that no code is accepted twice (RFC 6238 section 5.2). `recovery_code_hashes` shrinks by use.
    """

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_uuid7)
    email: Mapped[str] = mapped_column(Text)
    email_key: Mapped[str] = mapped_column(Text, unique=True)
    email_verified_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    name: Mapped[str] = mapped_column(Text)
    locale: Mapped[str | None] = mapped_column(Text)
    zoneinfo: Mapped[str | None] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column(Text)
    password_changed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    totp_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    totp_enabled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    totp_last_step: Mapped[int | None] = mapped_column(BigInteger)
    recovery_code_hashes: Mapped[list[bytes]] = mapped_column(ARRAY(LargeBinary), server_default=text("'{}'"))
    disabled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revision: Mapped[int] = mapped_column(BigInteger, default=1)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    @property
    def email_verified(self) -> bool:
        """Whether the person has proved to read the address."""
        return self.email_verified_at is not None

    @property
    def has_password(self) -> bool:
        """Whether a password is set."""
        return self.password_hash is not None

    @property
    def has_totp(self) -> bool:
        """Whether one-time codes are set up and confirmed."""
        return self.totp_enabled_at is not None

    @property
    def is_disabled(self) -> bool:
        """Whether the operator has disabled the account."""
        return self.disabled_at is not None

    @property
    def recovery_codes_left(self) -> int:
        """How many recovery codes were not used yet."""
        return len(self.recovery_code_hashes)


class Registration(Base):
    """Somebody who registered and has not yet followed the link in the mail; `id` becomes that of the user.

    Several may wait for one address, because registering never looks whether an address is known.
    """

    __tablename__ = "registrations"
    __table_args__ = (
        Index("ix_registrations_email_key", "email_key"),
        Index("ix_registrations_expires_at", "expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_uuid7)
    email: Mapped[str] = mapped_column(Text)
    email_key: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str] = mapped_column(Text)
    organization_name: Mapped[str | None] = mapped_column(Text)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Passkey(Base):
    """A WebAuthn credential; `public_key` is COSE as the authenticator gave it."""

    __tablename__ = "passkeys"
    __table_args__ = (Index("ix_passkeys_user_id_id", "user_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_uuid7)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    credential_id: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    sign_count: Mapped[int] = mapped_column(BigInteger)
    transports: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    name: Mapped[str] = mapped_column(Text)
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class EmailToken(Base):
    """A single-use token that was mailed: `purpose` is `change_email` (to `email`) or `reset_password`."""

    __tablename__ = "email_tokens"
    __table_args__ = (Index("ix_email_tokens_expires_at", "expires_at"),)

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    purpose: Mapped[str] = mapped_column(Text)
    email: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Mail(Base):
    """A mail that waits to be sent, written in the transaction that wants it sent.

    `content` is sealed: which mail it is, and what it says. `due_at` is also the lease of whoever sends it.
    """

    __tablename__ = "mails"
    __table_args__ = (Index("ix_mails_due_at", "due_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_uuid7)
    recipient: Mapped[str] = mapped_column(Text)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
