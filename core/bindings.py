"""Who may use a pool, and who may assume a role: pairs that are made and deleted, never changed.

A principal is a user's e-mail in small letters, or `accounts/<id>` for every user of an account.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Text, delete, insert, literal, select
from sqlalchemy.exc import IntegrityError

from core.database import Database
from core.errors import AlreadyExists, InvalidArgument, NotFound
from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.listing.paging import ListQuery, Page, select_page
from core.models import NodePool, NodePoolBinding, RoleBinding
from core.pools.access import own_pool_row

_POOL_FIELD = "nodePoolId"
_NOT_A_CHOICE = "is required: the account has {count} node pools"


@dataclass(frozen=True)
class PoolBinding:
    """One principal that may use one pool."""

    account: str
    pool: str
    principal: str
    created_at: datetime


@dataclass(frozen=True)
class RoleGrant:
    """One principal that may assume one role."""

    account: str
    principal: str
    role: str
    created_at: datetime


def _text(column: Any) -> ListField:
    return ListField(FieldType.TEXT, column, free_text=True)


POOL_BINDING_LISTING = Listing(
    {
        "principal": _text(NodePoolBinding.principal),
        "nodePoolId": _text(NodePool.pool_id),
        "createTime": ListField(FieldType.TIME, NodePoolBinding.created_at),
    },
    (OrderTerm("nodePoolId"), OrderTerm("principal")),
    # Neither an id nor a principal has a space.
    ListField(FieldType.TEXT, NodePool.pool_id + literal(" ", Text()) + NodePoolBinding.principal),
)
ROLE_BINDING_LISTING = Listing(
    {
        "principal": _text(RoleBinding.principal),
        "role": _text(RoleBinding.role),
        "createTime": ListField(FieldType.TIME, RoleBinding.created_at),
    },
    (OrderTerm("principal"), OrderTerm("role")),
    ListField(FieldType.TEXT, RoleBinding.principal + literal(" ", Text()) + RoleBinding.role),
)

_POOL_BINDING = select(
    NodePool.account_id.label("account"),
    NodePool.pool_id.label("pool"),
    NodePoolBinding.principal,
    NodePoolBinding.created_at,
).join(NodePool, NodePool.id == NodePoolBinding.pool_id)
_ROLE_BINDING = select(
    RoleBinding.account_id.label("account"), RoleBinding.principal, RoleBinding.role, RoleBinding.created_at
)


def bind_pool(database: Database, account: str, principal: str, pool: str) -> PoolBinding:
    """Let a principal use a pool of the account; "" is its only pool. The first binding closes the pool to others.

    Raises InvalidArgument where there is no such pool or more than one to choose from, PermissionDenied where
    it is another account's, AlreadyExists.
    """
    try:
        with database.transaction() as connection:
            pool_row = _own_pool(connection, account, pool)
            connection.execute(insert(NodePoolBinding).values(pool_id=pool_row, principal=principal))
            row = connection.execute(
                _POOL_BINDING.where(NodePoolBinding.pool_id == pool_row, NodePoolBinding.principal == principal)
            ).one()
            return PoolBinding(**row._mapping)
    except IntegrityError as error:
        raise _taken(error, "pk_node_pool_bindings", f"{principal} is bound to the node pool already") from None


def list_pool_bindings(database: Database, account: str, query: ListQuery) -> Page[PoolBinding]:
    """A page of the bindings of the account's own pools."""
    with database.transaction() as connection:
        base = _POOL_BINDING.where(NodePool.account_id == account, NodePool.deleted_at.is_(None))
        return select_page(connection, base, POOL_BINDING_LISTING, query, lambda fields: PoolBinding(**fields))


def unbind_pool(database: Database, account: str, principal: str, pool: str) -> None:
    """Take a binding away; "" is the principal's only one. The last one gone opens the pool to its account.

    Raises NotFound, InvalidArgument where there is more than one to choose from.
    """
    with database.transaction() as connection:
        found = select(NodePoolBinding.pool_id).join(NodePool, NodePool.id == NodePoolBinding.pool_id)
        found = found.where(
            NodePool.account_id == account, NodePool.deleted_at.is_(None), NodePoolBinding.principal == principal
        )
        rows = connection.execute(found.where(NodePool.pool_id == pool) if pool else found).scalars().all()
        if not rows:
            raise NotFound(
                f"{principal} is bound to {f'no node pool {pool}' if pool else 'none of the node pools'}"
            )
        if len(rows) > 1:
            raise InvalidArgument.field(
                _POOL_FIELD, f"is required: the principal is bound to {len(rows)} node pools"
            )
        connection.execute(
            delete(NodePoolBinding).where(
                NodePoolBinding.pool_id == rows[0], NodePoolBinding.principal == principal
            )
        )


def bind_role(database: Database, account: str, principal: str, role: str) -> RoleGrant:
    """Let a principal assume a role. Raises AlreadyExists."""
    pair = {"account_id": account, "principal": principal, "role": role}
    try:
        with database.transaction() as connection:
            created_at = connection.execute(
                insert(RoleBinding).values(**pair).returning(RoleBinding.created_at)
            ).scalar_one()
    except IntegrityError as error:
        raise _taken(error, "pk_role_bindings", f"{principal} may assume {role} already") from None
    return RoleGrant(account, principal, role, created_at)


def list_role_bindings(database: Database, account: str, query: ListQuery) -> Page[RoleGrant]:
    """A page of the account's role bindings."""
    with database.transaction() as connection:
        base = _ROLE_BINDING.where(RoleBinding.account_id == account)
        return select_page(connection, base, ROLE_BINDING_LISTING, query, lambda fields: RoleGrant(**fields))


def unbind_role(database: Database, account: str, principal: str, role: str) -> None:
    """Take a role from a principal. Raises NotFound."""
    with database.transaction() as connection:
        gone = connection.execute(
            delete(RoleBinding).where(
                RoleBinding.account_id == account, RoleBinding.principal == principal, RoleBinding.role == role
            )
        )
        if gone.rowcount == 0:
            raise NotFound(f"there is no binding of {principal} to role {role}")


def _own_pool(connection: Connection, account: str, pool: str) -> int:
    if pool:
        try:
            return own_pool_row(connection, account, pool, keep=True)
        except NotFound as error:
            raise InvalidArgument.field(_POOL_FIELD, str(error)) from None
    pools = connection.execute(
        select(NodePool.pool_id).where(NodePool.account_id == account, NodePool.deleted_at.is_(None))
    ).scalars()
    names = pools.all()
    if len(names) != 1:
        raise InvalidArgument.field(_POOL_FIELD, _NOT_A_CHOICE.format(count=len(names)))
    return own_pool_row(connection, account, names[0], keep=True)


def _taken(error: IntegrityError, constraint: str, message: str) -> Exception:
    return AlreadyExists(message) if constraint in str(error.orig) else error
