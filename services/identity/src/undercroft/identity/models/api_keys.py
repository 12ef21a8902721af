"""API keys."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, DateTime, ForeignKey, Index, LargeBinary, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from undercroft.identity.models.base import Base
from undercroft.shared.ids import encode_suffix, new_uuid7


class ApiKey(Base):
    """A key of an organization, or of the operator when there is none. Only hashes of secrets are kept.

    After a rotation the previous secret opens until `previous_expires_at`. `last_used_at` is written late and
    in batches, so it is no part of the revision.
    """

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_organization_id_id", "organization_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_uuid7)
    organization_id: Mapped[UUID | None] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    mode: Mapped[str] = mapped_column(Text)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    environment: Mapped[str | None] = mapped_column(Text)
    allowed_cidrs: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)
    secret_created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    previous_secret_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    previous_expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revision: Mapped[int] = mapped_column(BigInteger, default=1)
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    @property
    def prefix(self) -> str:
        """How every secret of this key begins."""
        return f"uc_{self.mode}_{encode_suffix(self.id)}"
