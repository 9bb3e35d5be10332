"""Accounts: who there is on the platform, what an account may have, and the first users of each.

One account runs the platform: its admins manage the others, and that is all of another account that they reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Text, exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from core.database import Database
from core.errors import AlreadyExists, NotFound
from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.listing.paging import ListQuery, Page, select_page
from core.models import Account

#: The id of the account that runs the platform.
OPERATOR = "operator"

LISTING = Listing(
    fields={
        "name": ListField(FieldType.TEXT, literal("accounts/", Text()) + Account.id, free_text=True),
        "displayName": ListField(FieldType.TEXT, Account.display_name, free_text=True),
        "email": ListField(FieldType.TEXT, Account.email, free_text=True),
        "createTime": ListField(FieldType.TIME, Account.created_at),
        "updateTime": ListField(FieldType.TIME, Account.updated_at),
        "isOperator": ListField(FieldType.BOOL, Account.is_operator),
        "mayOwnNodes": ListField(FieldType.BOOL, Account.may_own_nodes),
        "maxLiveJobs": ListField(FieldType.NUMBER, func.coalesce(Account.max_live_jobs, 0)),
        "maxLiveRanks": ListField(FieldType.NUMBER, func.coalesce(Account.max_live_ranks, 0)),
        "retentionDays": ListField(FieldType.NUMBER, func.coalesce(Account.retention_days, 0)),
        "retentionSize": ListField(FieldType.NUMBER, func.coalesce(Account.retention_bytes, 0)),
    },
    default_order=(OrderTerm("name"),),
    tie=ListField(FieldType.TEXT, Account.id),
)


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


@dataclass(frozen=True)
class AccountRecord:
    """An account as stored. None of a quota or a retention: the platform's setting holds."""

    id: str
    display_name: str
    email: str
    is_operator: bool
    may_own_nodes: bool
    max_live_jobs: int | None
    max_live_ranks: int | None
    retention_days: int | None
    retention_bytes: int | None
    created_at: datetime
    updated_at: datetime


_COLUMNS = tuple(getattr(Account, name) for name in AccountRecord.__dataclass_fields__)


def get_account(database: Database, account: str) -> AccountRecord:
    """The account. Raises NotFound."""
    with database.transaction() as connection:
        row = connection.execute(select(*_COLUMNS).where(Account.id == account)).first()
    if row is None:
        raise account_not_found(account)
    return AccountRecord(**row._mapping)


def list_accounts(database: Database, query: ListQuery, *, only: str | None = None) -> Page[AccountRecord]:
    """A page of all accounts, or of one."""
    base = select(*_COLUMNS)
    if only is not None:
        base = base.where(Account.id == only)
    with database.transaction() as connection:
        return select_page(connection, base, LISTING, query, lambda fields: AccountRecord(**fields))


def update_account(database: Database, account: str, changes: Mapping[str, Any]) -> AccountRecord:
    """Change columns of an account, by their names in `AccountRecord`. Raises NotFound."""
    with database.transaction() as connection:
        row = connection.execute(
            update(Account)
            .where(Account.id == account)
            .values(**changes, updated_at=func.now())
            .returning(*_COLUMNS)
        ).first()
    if row is None:
        raise account_not_found(account)
    return AccountRecord(**row._mapping)


def insert_account(connection: Connection, account: str, values: Mapping[str, Any]) -> AccountRecord:
    """A new account, within a transaction. Raises AlreadyExists."""
    row = connection.execute(
        upsert(Account).values(id=account, **values).on_conflict_do_nothing().returning(*_COLUMNS)
    ).first()
    if row is None:
        raise AlreadyExists(f"there is already an account accounts/{account}")
    return AccountRecord(**row._mapping)


def has_operator(connection: Connection) -> bool:
    """Whether there is an account that runs the platform."""
    return bool(connection.execute(select(exists().where(Account.is_operator))).scalar_one())


def account_not_found(account: str) -> NotFound:
    """The one answer for an account that is not there and one that is not the caller's to see."""
    return NotFound(f"there is no account accounts/{account}")
