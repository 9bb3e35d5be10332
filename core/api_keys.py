"""API keys: made, looked up, listed, revoked, and whose one is. How they are written is `core.key_format`.

Every question takes the account: another account's key is a key that does not exist. A revoked key stays as a
row, for the record of what was done with it, and is in no answer.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ARRAY,
    Connection,
    Select,
    Text,
    bindparam,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from core.accounts import Caller
from core.database import Database
from core.errors import NotFound, Unauthenticated
from core.key_format import MintedKey, mint, secret_digest, split
from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.listing.paging import ListQuery, Page, select_page
from core.models import Account, ApiKey, User
from core.users import user_not_found

LISTING = Listing(
    fields={
        "keyId": ListField(FieldType.TEXT, ApiKey.id),
        "displayName": ListField(FieldType.TEXT, ApiKey.display_name, free_text=True),
        "email": ListField(FieldType.TEXT, User.email, free_text=True),
        "user": ListField(FieldType.TEXT, User.user_id, free_text=True),
        "createTime": ListField(FieldType.TIME, ApiKey.created_at),
        "expireTime": ListField(FieldType.TIME, ApiKey.expires_at, nullable=True),
        "lastUsedTime": ListField(FieldType.TIME, ApiKey.last_used_at, nullable=True),
    },
    default_order=(OrderTerm("createTime"),),
    tie=ListField(FieldType.TEXT, ApiKey.id),
)

_VALID = (ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()))
_WHOSE = (
    select(
        ApiKey.secret_sha256,
        User.account_id,
        User.id,
        User.user_id,
        User.email,
        User.role,
        Account.is_operator,
        Account.may_own_nodes,
        func.extract("epoch", ApiKey.expires_at - func.now()).label("seconds_left"),
    )
    .join(User, User.id == ApiKey.user_id)
    .join(Account, Account.id == User.account_id)
    .where(ApiKey.id == bindparam("key"), *_VALID)
)
_STILL_VALID = select(ApiKey.id).where(ApiKey.id == func.any(bindparam("keys", type_=ARRAY(Text))), *_VALID)
_USED = (
    update(ApiKey)
    .where(
        ApiKey.id == bindparam("key"),
        or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - text("interval '1 minute'")),
    )
    .values(last_used_at=func.now())
)


@dataclass(frozen=True)
class ApiKeyRecord:
    """A key as it may be shown: no part of its secret."""

    key_id: str
    account: str
    user_row: int
    user_id: str
    email: str
    display_name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


def authenticate(database: Database, key: str) -> Caller:
    """Whose key it is. Raises Unauthenticated, the same for every kind of wrong key."""
    return authenticate_for(database, key)[0]


def authenticate_for(database: Database, key: str) -> tuple[Caller, float]:
    """Whose key it is, and for how many seconds yet, infinity included. Raises as `authenticate`."""
    parts = split(key)
    if parts is None:
        raise Unauthenticated("the API key is not valid")
    key_id, secret = parts
    with database.transaction() as connection:
        row = connection.execute(_WHOSE, {"key": key_id}).first()
    if row is None or not hmac.compare_digest(row.secret_sha256, secret_digest(secret)):
        raise Unauthenticated("the API key is not valid")
    caller = Caller(
        account=row.account_id,
        user_row=row.id,
        user_id=row.user_id,
        email=row.email,
        is_admin=row.role == "admin",
        is_operator=row.is_operator,
        may_own_nodes=row.may_own_nodes,
        key_id=key_id,
    )
    return caller, math.inf if row.seconds_left is None else float(row.seconds_left)


def still_valid(database: Database, key_ids: Collection[str]) -> set[str]:
    """Those of the keys that are neither revoked nor expired, in one query."""
    if not key_ids:
        return set()
    with database.transaction() as connection:
        return set(connection.execute(_STILL_VALID, {"keys": list(key_ids)}).scalars())


def record_use(database: Database, key_id: str) -> None:
    """Note that the key was used just now; to the minute, so that most of the times nothing is written."""
    with database.transaction() as connection:
        connection.execute(_USED, {"key": key_id})


def create_key(
    database: Database, account: str, user_id: str, *, display_name: str, expires_at: datetime | None
) -> tuple[ApiKeyRecord, str]:
    """A new key of the account's user, and its text, which cannot be had again. Raises NotFound."""
    with database.transaction() as connection:
        # Shared, so that a user who is being deleted cannot be given a key that nobody sees.
        user_row = connection.execute(
            select(User.id)
            .where(User.account_id == account, User.user_id == user_id)
            .with_for_update(read=True, key_share=True)
        ).scalar()
        if user_row is None:
            raise user_not_found(account, user_id)
        minted = insert_key(connection, user_row, display_name=display_name, expires_at=expires_at)
        return read_key(connection, account, minted.key_id), minted.text


def insert_key(
    connection: Connection, user_row: int, *, display_name: str = "", expires_at: datetime | None = None
) -> MintedKey:
    """A new key for the user of that row, within a transaction."""
    minted = mint()
    connection.execute(
        insert(ApiKey).values(
            id=minted.key_id,
            user_id=user_row,
            secret_sha256=minted.secret_sha256,
            display_name=display_name,
            expires_at=expires_at,
        )
    )
    return minted


def get_key(database: Database, account: str, key_id: str) -> ApiKeyRecord:
    """The account's key. Raises NotFound."""
    with database.transaction() as connection:
        return read_key(connection, account, key_id)


def read_key(connection: Connection, account: str, key_id: str) -> ApiKeyRecord:
    """`get_key` within a transaction."""
    row = connection.execute(_select().where(User.account_id == account, ApiKey.id == key_id)).first()
    if row is None:
        raise key_not_found(account, key_id)
    return ApiKeyRecord(**row._mapping)


def list_keys(database: Database, account: str, query: ListQuery, *, user_row: int | None) -> Page[ApiKeyRecord]:
    """A page of the account's keys, or of one user's."""
    base = _select().where(User.account_id == account)
    if user_row is not None:
        base = base.where(ApiKey.user_id == user_row)
    with database.transaction() as connection:
        return select_page(connection, base, LISTING, query, lambda fields: ApiKeyRecord(**fields))


def revoke_key(database: Database, account: str, key_id: str) -> None:
    """End the key: refused everywhere within a second, its streams ended. Raises NotFound."""
    with database.transaction() as connection:
        of_account = select(User.id).where(User.account_id == account)
        done = connection.execute(
            update(ApiKey)
            .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None), ApiKey.user_id.in_(of_account))
            .values(revoked_at=func.now())
        )
        if done.rowcount == 0:
            raise key_not_found(account, key_id)


def key_not_found(account: str, key_id: str) -> NotFound:
    """The one answer for a key that is not there, is revoked, or is another's."""
    return NotFound(f"there is no api key accounts/{account}/apiKeys/{key_id}")


def _select() -> Select[str, str, int, str, str, str, datetime, datetime | None, datetime | None]:
    return (
        select(
            ApiKey.id.label("key_id"),
            User.account_id.label("account"),
            User.id.label("user_row"),
            User.user_id,
            User.email,
            ApiKey.display_name,
            ApiKey.created_at,
            ApiKey.expires_at,
            ApiKey.last_used_at,
        )
        .join(User, User.id == ApiKey.user_id)
        .where(ApiKey.revoked_at.is_(None))
    )
