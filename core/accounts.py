"""Accounts, users and API keys. A key is shown once; what is kept is the SHA-256 of its secret part.

A key reads `lsk_<id>_<secret>`: the prefix lets leak scanners see it, the id finds the row, the secret is
256 random bits. A fast hash is right for a secret of that size; a slow one would cost each request 0.1 s.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import bindparam, func, insert, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert

from core.database import Database
from core.errors import Unauthenticated
from core.models import Account, ApiKey, User

_PREFIX = "lsk"


@dataclass(frozen=True)
class Caller:
    """Who asks: a user of an account, by one of his keys."""

    account: str
    user_row: int
    user_id: str
    email: str
    is_admin: bool
    #: of the account that runs the platform
    is_operator: bool
    may_own_nodes: bool
    key_id: str


def ensure_first_account(
    database: Database, *, account: str, user_email: str, key_file_has_key: bool
) -> str | None:
    """Make the account and its admin where missing; a new API key unless the caller still has one.

    Returns the plain key when one was made; it cannot be had again.
    """
    with database.transaction() as connection:
        connection.execute(upsert(Account).values(id=account).on_conflict_do_nothing())
        connection.execute(
            upsert(User)
            .values(account_id=account, user_id=user_id_of(user_email), email=user_email, role="admin")
            .on_conflict_do_nothing()
        )
        user_id = connection.execute(
            select(User.id).where(User.account_id == account, User.email == user_email)
        ).scalar_one()
        if key_file_has_key:
            return None
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        connection.execute(insert(ApiKey).values(id=key_id, user_id=user_id, secret_sha256=_digest(secret)))
    return f"{_PREFIX}_{key_id}_{secret}"


def user_id_of(email: str) -> str:
    """The id that a user gets unless another is asked for: the e-mail's first part in small letters."""
    local = re.sub(r"[^a-z0-9]+", "-", email.partition("@")[0].lower()).strip("-")
    return local[:63].rstrip("-") if local[:1].isalpha() else f"user-{local[:58]}".rstrip("-")


_KEY = (
    select(
        ApiKey.secret_sha256,
        User.account_id,
        User.id,
        User.user_id,
        User.email,
        User.role,
        Account.is_operator,
        Account.may_own_nodes,
    )
    .join(User, User.id == ApiKey.user_id)
    .join(Account, Account.id == User.account_id)
    .where(
        ApiKey.id == bindparam("key"),
        ApiKey.revoked_at.is_(None),
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()),
    )
)


def authenticate(database: Database, key: str) -> Caller:
    """Whose key it is. Raises Unauthenticated, the same for every kind of wrong key."""
    parts = key.split("_", 2)
    if len(parts) != 3 or parts[0] != _PREFIX or "\0" in key:
        raise Unauthenticated("the API key is not valid")
    with database.transaction() as connection:
        row = connection.execute(_KEY, {"key": parts[1]}).first()
    if row is None or not hmac.compare_digest(row.secret_sha256, _digest(parts[2])):
        raise Unauthenticated("the API key is not valid")
    return Caller(
        row.account_id,
        row.id,
        row.user_id,
        row.email,
        row.role == "admin",
        row.is_operator,
        row.may_own_nodes,
        parts[1],
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
