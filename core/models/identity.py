"""Accounts, their users and keys, their secrets, and who may do what."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    LargeBinary,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.models.row import Row


class Account(Row):
    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(primary_key=True)
    display_name: Mapped[str] = mapped_column(server_default="")
    email: Mapped[str] = mapped_column(server_default="", doc="whom to write to")
    is_operator: Mapped[bool] = mapped_column(
        server_default=text("false"), doc="its admins manage accounts and may offer pools to all"
    )
    may_own_nodes: Mapped[bool] = mapped_column(
        server_default=text("false"), doc="its admins may name engines, which is root-like power over a host"
    )
    max_live_jobs: Mapped[int | None] = mapped_column(doc="null = the platform's setting")
    max_live_ranks: Mapped[int | None] = mapped_column(doc="null = the platform's setting")
    retention_days: Mapped[int | None] = mapped_column(doc="null = the platform's setting")
    retention_bytes: Mapped[int | None] = mapped_column(BigInteger, doc="null = the platform's setting")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class User(Row):
    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("account_id", "email"),
        UniqueConstraint("account_id", "user_id"),
        CheckConstraint("role IN ('admin', 'user')", name="role"),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    user_id: Mapped[str] = mapped_column(doc="the last part of its resource name")
    email: Mapped[str]
    display_name: Mapped[str] = mapped_column(server_default="")
    role: Mapped[str] = mapped_column(doc="admin or user")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKey(Row):
    """Only the SHA-256 of the secret is kept; `id` is the part of the key that finds the row."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    display_name: Mapped[str] = mapped_column(server_default="")
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None] = mapped_column(doc="to the minute")
    revoked_at: Mapped[datetime | None]


class Secret(Row):
    """A value that only ranks and registries get to see. Sealed with a key that is not in the database."""

    __tablename__ = "secrets"
    __table_args__ = (UniqueConstraint("account_id", "secret_id"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    secret_id: Mapped[str] = mapped_column(doc="the last part of its resource name")
    key_name: Mapped[str] = mapped_column(doc="what the value is, in its owner's words")
    created_by: Mapped[str]
    sealing_key: Mapped[str] = mapped_column(doc="the id of the key that sealed it")
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RoleBinding(Row):
    """Who may assume a role."""

    __tablename__ = "role_bindings"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    principal: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
