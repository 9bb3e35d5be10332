"""Users of an account: made, read, changed, removed. Every question takes the account.

What is done to users holds the account's row, so that two of them cannot both take the last admin away, or
the same e-mail. An e-mail is one whatever the case of its letters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

from sqlalchemy import Connection, Text, delete, func, insert, literal, select, update

from core.database import Database
from core.errors import AlreadyExists, FailedPrecondition, NotFound
from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.listing.paging import ListQuery, Page, select_page
from core.models import Account, User

ROLES = ("admin", "user")
_ADMIN = "admin"

LISTING = Listing(
    fields={
        "name": ListField(
            FieldType.TEXT,
            literal("accounts/", Text()) + User.account_id + literal("/users/", Text()) + User.user_id,
            free_text=True,
        ),
        "displayName": ListField(FieldType.TEXT, User.display_name, free_text=True),
        "email": ListField(FieldType.TEXT, User.email, free_text=True),
        "role": ListField(FieldType.TEXT, User.role),
        "createTime": ListField(FieldType.TIME, User.created_at),
        "updateTime": ListField(FieldType.TIME, User.updated_at),
    },
    default_order=(OrderTerm("name"),),
    tie=ListField(FieldType.NUMBER, User.id),
)


@dataclass(frozen=True)
class UserRecord:
    """A user as stored; `row` is never on the wire."""

    row: int
    account: str
    user_id: str
    email: str
    display_name: str
    role: str
    created_at: datetime
    updated_at: datetime


def create_user(
    database: Database, account: str, *, email: str, role: str, display_name: str = "", user_id: str = ""
) -> UserRecord:
    """A new user, without a key. An empty id is made of the e-mail. Raises AlreadyExists, NotFound."""
    with database.transaction() as connection:
        _hold(connection, account)
        return insert_user(connection, account, email=email, role=role, display_name=display_name, user_id=user_id)


def insert_user(
    connection: Connection, account: str, *, email: str, role: str, display_name: str = "", user_id: str = ""
) -> UserRecord:
    """`create_user` within a transaction that holds the account's row."""
    taken = connection.execute(
        select(User.user_id).where(User.account_id == account, func.lower(User.email) == func.lower(email))
    ).scalar()
    if taken is not None:
        raise AlreadyExists(f"the account has a user with this e-mail: accounts/{account}/users/{taken}")
    if user_id and _find(connection, account, user_id) is not None:
        raise AlreadyExists(f"there is already a user accounts/{account}/users/{user_id}")
    row = connection.execute(
        insert(User)
        .values(
            account_id=account,
            user_id=user_id or _free_id(connection, account, user_id_of(email)),
            email=email,
            display_name=display_name,
            role=role,
        )
        .returning(*_COLUMNS)
    ).one()
    return UserRecord(**row._mapping)


def user_id_of(email: str) -> str:
    """The id that a user gets unless another is asked for: the e-mail's first part in small letters."""
    local = re.sub(r"[^a-z0-9]+", "-", email.partition("@")[0].lower()).strip("-")
    if not local[:1].isalpha():
        local = f"user-{local}"
    return local[:63].strip("-")


def get_user(database: Database, account: str, user_id: str) -> UserRecord:
    """The account's user. Raises NotFound."""
    with database.transaction() as connection:
        found = _find(connection, account, user_id)
    if found is None:
        raise user_not_found(account, user_id)
    return found


def find_user_by_email(database: Database, account: str, email: str) -> UserRecord | None:
    """The account's user with that e-mail, in whatever case."""
    with database.transaction() as connection:
        row = connection.execute(
            select(*_COLUMNS).where(User.account_id == account, func.lower(User.email) == func.lower(email))
        ).first()
    return None if row is None else UserRecord(**row._mapping)


def list_users(database: Database, account: str, query: ListQuery) -> Page[UserRecord]:
    """A page of the account's users."""
    with database.transaction() as connection:
        return select_page(
            connection,
            select(*_COLUMNS).where(User.account_id == account),
            LISTING,
            query,
            lambda fields: UserRecord(**fields),
        )


def update_user(
    database: Database, account: str, user_id: str, *, display_name: str | None = None, role: str | None = None
) -> UserRecord:
    """Change what is not None. Raises NotFound, and FailedPrecondition for the last admin."""
    changes = {"display_name": display_name, "role": role}
    values: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    with database.transaction() as connection:
        _hold(connection, account)
        user = _must_find(connection, account, user_id)
        if role is not None and role != _ADMIN:
            _keep_an_admin(connection, user)
        if not values:
            return user
        row = connection.execute(
            update(User).where(User.id == user.row).values(**values, updated_at=func.now()).returning(*_COLUMNS)
        ).one()
        return UserRecord(**row._mapping)


def delete_user(database: Database, account: str, user_id: str) -> None:
    """Remove the user with his keys. Raises NotFound, and FailedPrecondition for the last admin."""
    with database.transaction() as connection:
        _hold(connection, account)
        user = _must_find(connection, account, user_id)
        _keep_an_admin(connection, user)
        connection.execute(delete(User).where(User.id == user.row))


def user_not_found(account: str, user_id: str) -> NotFound:
    """The one answer for a user who is not there and one who is another account's."""
    return NotFound(f"there is no user accounts/{account}/users/{user_id}")


_COLUMNS = (
    User.id.label("row"),
    User.account_id.label("account"),
    User.user_id,
    User.email,
    User.display_name,
    User.role,
    User.created_at,
    User.updated_at,
)


def _hold(connection: Connection, account: str) -> None:
    """Lock the account's row against others who change its users; jobs and lists are not held up."""
    held = connection.execute(
        select(Account.id).where(Account.id == account).with_for_update(key_share=True)
    ).scalar()
    if held is None:
        raise NotFound(f"there is no account accounts/{account}")


def _keep_an_admin(connection: Connection, user: UserRecord) -> None:
    others = connection.execute(
        select(func.count())
        .select_from(User)
        .where(User.account_id == user.account, User.role == _ADMIN, User.id != user.row)
    ).scalar_one()
    if user.role == _ADMIN and others == 0:
        raise FailedPrecondition("he is the account's last admin; make another user admin first")


def _free_id(connection: Connection, account: str, wanted: str) -> str:
    """The id, or the first of id-2, id-3, ... that nobody in the account has."""
    for number in count(1):
        ending = "" if number == 1 else f"-{number}"
        candidate = wanted[: 63 - len(ending)].rstrip("-") + ending
        if _find(connection, account, candidate) is None:
            return candidate
    raise AssertionError  # numbers do not end


def _must_find(connection: Connection, account: str, user_id: str) -> UserRecord:
    found = _find(connection, account, user_id)
    if found is None:
        raise user_not_found(account, user_id)
    return found


def _find(connection: Connection, account: str, user_id: str) -> UserRecord | None:
    row = connection.execute(select(*_COLUMNS).where(User.account_id == account, User.user_id == user_id)).first()
    return None if row is None else UserRecord(**row._mapping)
