"""Accounts with their first admin and his key, and accounts taken away with all that is theirs.

These touch accounts, users and keys in one transaction; each noun's own verbs are in the file of its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from core.accounts import AccountRecord, account_not_found, insert_account
from core.api_keys import insert_key
from core.database import Database
from core.errors import FailedPrecondition, NotFound
from core.models import (
    Account,
    GangNetwork,
    IdempotencyKey,
    ImagePull,
    Job,
    JobCount,
    KeptBytes,
    Node,
    NodePool,
    NodePoolBinding,
    RoleBinding,
    Secret,
    User,
)
from core.users import insert_user

_ADMIN = "admin"


def create_account(
    database: Database, account: str, values: Mapping[str, Any], *, email: str
) -> tuple[AccountRecord, str]:
    """A new account and the key of its first admin, which cannot be had again. Raises AlreadyExists."""
    with database.transaction() as connection:
        record = insert_account(connection, account, {**values, "email": email})
        admin = insert_user(connection, account, email=email, role=_ADMIN)
        return record, insert_key(connection, admin.row).text


def ensure_first_account(
    database: Database,
    *,
    account: str,
    user_email: str,
    key_file_has_key: bool,
    is_operator: bool = False,
    may_own_nodes: bool = False,
) -> str | None:
    """Make the account and its admin where missing; a new API key unless the caller still has one.

    `may_own_nodes` is of a new account only: what was decided about an old one stays. Returns the plain key
    when one was made; it cannot be had again.
    """
    with database.transaction() as connection:
        connection.execute(
            upsert(Account)
            .values(id=account, email=user_email, is_operator=is_operator, may_own_nodes=may_own_nodes)
            .on_conflict_do_nothing()
        )
        if is_operator:
            connection.execute(update(Account).where(Account.id == account).values(is_operator=True))
        connection.execute(select(Account.id).where(Account.id == account).with_for_update(key_share=True))
        user_row = connection.execute(_by_email(account, user_email)).scalar()
        if user_row is None:
            user_row = insert_user(connection, account, email=user_email, role=_ADMIN).row
        if key_file_has_key:
            return None
        return insert_key(connection, user_row).text


def new_admin_key(database: Database, account: str, email: str, *, display_name: str) -> str:
    """A key for an admin who has lost his. Raises NotFound where there is no such admin."""
    with database.transaction() as connection:
        user_row = connection.execute(_by_email(account, email).where(User.role == _ADMIN)).scalar()
        if user_row is None:
            raise NotFound(f"accounts/{account} has no admin with the e-mail {email}")
        return insert_key(connection, user_row, display_name=display_name).text


def delete_account(database: Database, account: str) -> None:
    """Remove an account with its users, keys and secrets.

    Raises NotFound, and FailedPrecondition while it runs the platform or has jobs, pools or nodes.
    """
    with database.transaction() as connection:
        is_operator = connection.execute(
            select(Account.is_operator).where(Account.id == account).with_for_update()
        ).scalar()
        if is_operator is None:
            raise account_not_found(account)
        if is_operator:
            raise FailedPrecondition("this account runs the platform")
        _refuse_while_in_use(connection, account)
        _delete_rows(connection, account)


def _by_email(account: str, email: str) -> Select[int]:
    return select(User.id).where(User.account_id == account, func.lower(User.email) == func.lower(email))


def _refuse_while_in_use(connection: Connection, account: str) -> None:
    pools = select(NodePool.id).where(NodePool.account_id == account)
    in_use = {
        "jobs": exists().where(or_(Job.account_id == account, Job.pool_id.in_(pools))),
        "node pools": exists().where(NodePool.account_id == account, NodePool.deleted_at.is_(None)),
        "nodes": exists().where(Node.pool_id.in_(pools), Node.deleted_at.is_(None)),
        "networks that are being taken down": exists().where(GangNetwork.pool_id.in_(pools)),
    }
    found = [name for name, condition in in_use.items() if connection.execute(select(condition)).scalar_one()]
    if found:
        raise FailedPrecondition(f"the account still has {', '.join(found)}")


def _delete_rows(connection: Connection, account: str) -> None:
    """Everything that is the account's, what points to a row before the row. Pools and nodes are marked ones."""
    pools = select(NodePool.id).where(NodePool.account_id == account)
    nodes = select(Node.id).where(Node.pool_id.in_(pools))
    secrets = select(Secret.id).where(Secret.account_id == account)
    for statement in (
        delete(ImagePull).where(ImagePull.node_id.in_(nodes)),
        delete(ImagePull).where(ImagePull.pull_secret.in_(secrets)),
        delete(Node).where(Node.pool_id.in_(pools)),
        delete(NodePoolBinding).where(NodePoolBinding.pool_id.in_(pools)),
        delete(NodePoolBinding).where(NodePoolBinding.principal == f"accounts/{account}"),
        delete(NodePool).where(NodePool.account_id == account),
        delete(Secret).where(Secret.account_id == account),
        delete(RoleBinding).where(RoleBinding.account_id == account),
        delete(IdempotencyKey).where(IdempotencyKey.account_id == account),
        delete(JobCount).where(JobCount.account_id == account),
        delete(KeptBytes).where(KeptBytes.account_id == account),
        delete(User).where(User.account_id == account),
        delete(Account).where(Account.id == account),
    ):
        connection.execute(statement)
