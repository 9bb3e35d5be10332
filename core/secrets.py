"""Secrets of an account: made, listed, changed, removed. A value goes in here and comes out in `secret_use` only.

What is sealed is bound to its account and to the key of its row, so that a sealed value which somebody with
access to the database moves to another row, or to another account, does not open there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Text, bindparam, delete, func, insert, literal, select, text, update
from sqlalchemy.exc import IntegrityError

from core.database import Database
from core.errors import AlreadyExists, FailedPrecondition, NotFound
from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.listing.paging import ListQuery, Page, select_page
from core.models import ImagePull, Secret
from core.sealing import KeysUnusable, Sealed, SealingKeys

#: What a value may be at most, in UTF-8.
MAX_VALUE_BYTES = 64 << 10
_ID_TAKEN = "uq_secrets_account_id_secret_id"

LISTING = Listing(
    fields={
        "name": ListField(
            FieldType.TEXT,
            literal("accounts/", Text()) + Secret.account_id + literal("/secrets/", Text()) + Secret.secret_id,
            free_text=True,
        ),
        "keyName": ListField(FieldType.TEXT, Secret.key_name, free_text=True),
        "createTime": ListField(FieldType.TIME, Secret.created_at),
        "updateTime": ListField(FieldType.TIME, Secret.updated_at),
        "createdBy": ListField(FieldType.TEXT, Secret.created_by, free_text=True),
    },
    default_order=(OrderTerm("name"),),
    tie=ListField(FieldType.NUMBER, Secret.id),
)


@dataclass(frozen=True)
class SecretRecord:
    """A secret without its value; `row` is never on the wire."""

    row: int
    account: str
    secret_id: str
    key_name: str
    created_by: str
    created_at: datetime
    updated_at: datetime


_COLUMNS = (
    Secret.id.label("row"),
    Secret.account_id.label("account"),
    Secret.secret_id,
    Secret.key_name,
    Secret.created_by,
    Secret.created_at,
    Secret.updated_at,
)
_ONE = select(*_COLUMNS).where(Secret.account_id == bindparam("account"), Secret.secret_id == bindparam("secret"))


def create_secret(
    database: Database,
    keys: SealingKeys,
    account: str,
    secret_id: str,
    *,
    key_name: str,
    value: str,
    created_by: str,
) -> SecretRecord:
    """Keep a value. Raises AlreadyExists, or FailedPrecondition where the platform has no keys to seal with."""
    try:
        with database.transaction() as connection:
            # Known before the row is, because the value is bound to it.
            row_id = connection.execute(_NEXT_ROW).scalar_one()
            sealed = seal(keys, account, row_id, value)
            made = connection.execute(
                insert(Secret)
                .values(
                    id=row_id,
                    account_id=account,
                    secret_id=secret_id,
                    key_name=key_name,
                    created_by=created_by,
                    sealing_key=sealed.key_id,
                    sealed=sealed.data,
                )
                .returning(*_COLUMNS)
            ).one()
    except IntegrityError as error:
        if _ID_TAKEN in str(error.orig):
            raise AlreadyExists(f"there is already a secret {secret_name(account, secret_id)}") from None
        raise
    return SecretRecord(**made._mapping)


_NEXT_ROW = text("SELECT nextval(pg_get_serial_sequence('secrets', 'id'))")


def get_secret(database: Database, account: str, secret_id: str) -> SecretRecord:
    """The account's secret. Raises NotFound."""
    with database.transaction() as connection:
        found = connection.execute(_ONE, {"account": account, "secret": secret_id}).first()
    if found is None:
        raise secret_not_found(account, secret_id)
    return SecretRecord(**found._mapping)


def list_secrets(database: Database, account: str, query: ListQuery) -> Page[SecretRecord]:
    """A page of the account's secrets."""
    with database.transaction() as connection:
        return select_page(
            connection,
            select(*_COLUMNS).where(Secret.account_id == account),
            LISTING,
            query,
            lambda fields: SecretRecord(**fields),
        )


def edit_secret(
    database: Database,
    keys: SealingKeys,
    account: str,
    secret_id: str,
    *,
    key_name: str | None = None,
    value: str | None = None,
) -> SecretRecord:
    """Change what is given. A new value has to prove itself to registries anew.

    Raises NotFound, FailedPrecondition as `create_secret`.
    """
    with database.transaction() as connection:
        found = connection.execute(_ONE.with_for_update(), {"account": account, "secret": secret_id}).first()
        if found is None:
            raise secret_not_found(account, secret_id)
        changes: dict[str, Any] = {} if key_name is None else {"key_name": key_name}
        if value is not None:
            sealed = seal(keys, account, found.row, value)
            changes |= {"sealing_key": sealed.key_id, "sealed": sealed.data}
            _forget_proofs(connection, found.row)
        if not changes:
            return SecretRecord(**found._mapping)
        changed = connection.execute(
            update(Secret)
            .where(Secret.id == found.row)
            .values(**changes, updated_at=func.now())
            .returning(*_COLUMNS)
        ).one()
        return SecretRecord(**changed._mapping)


def delete_secret(database: Database, account: str, secret_id: str) -> None:
    """Remove a secret, and what registries granted to it. Jobs that name it fail when they are launched.

    Raises NotFound.
    """
    with database.transaction() as connection:
        row_id = connection.execute(
            delete(Secret).where(Secret.account_id == account, Secret.secret_id == secret_id).returning(Secret.id)
        ).scalar()
        if row_id is None:
            raise secret_not_found(account, secret_id)
        connection.execute(delete(ImagePull).where(ImagePull.pull_secret == row_id))


def secret_name(account: str, secret_id: str) -> str:
    """The resource name."""
    return f"accounts/{account}/secrets/{secret_id}"


def secret_not_found(account: str, secret_id: str) -> NotFound:
    """The one answer for a secret that is not there and a secret that is another's."""
    return NotFound(f"there is no secret {secret_name(account, secret_id)}")


def seal(keys: SealingKeys, account: str, row_id: int, value: str) -> Sealed:
    """A value as it is kept in its row. Raises FailedPrecondition where the platform has no keys."""
    try:
        return keys.seal(value.encode(), *bound_to(account, row_id))
    except KeysUnusable as error:
        raise FailedPrecondition(f"secrets cannot be kept: {error}") from None


def bound_to(account: str, row_id: int) -> tuple[object, ...]:
    """What a row's value is sealed to."""
    return ("secret", account, row_id)


def _forget_proofs(connection: Connection, row_id: int) -> None:
    """What a registry granted was granted to the value as it was."""
    mine = ImagePull.pull_secret == row_id
    connection.execute(delete(ImagePull).where(mine, ImagePull.state != "WANTED"))
    connection.execute(update(ImagePull).where(mine).values(ended_at=None))
