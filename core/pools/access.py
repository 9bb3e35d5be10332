"""Which pool an id means to an account, and who may use it.

An account has its own pools, and sees those that their owners offer to all. Its own of the same id wins. A pool
with bindings is for the principals bound to it, and for the admins of its account; an offered pool that does
not let an account in is to that account as if it did not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, Row, Text, and_, bindparam, func, or_, select
from sqlalchemy.orm import aliased

from core.accounts import Caller
from core.errors import NotFound, PermissionDenied
from core.models import NodePool, NodePoolBinding

_PRINCIPALS = bindparam("principals", type_=ARRAY(Text))
_BOUND = select(NodePoolBinding.pool_id).where(NodePoolBinding.pool_id == NodePool.id).correlate(NodePool)
_NAMED = _BOUND.where(NodePoolBinding.principal == func.any(_PRINCIPALS))

_OWN = (
    select(NodePool.id, NodePool.default_image_ref, _BOUND.exists().label("bound"), _NAMED.exists().label("named"))
    .where(
        NodePool.account_id == bindparam("account"),
        NodePool.pool_id == bindparam("pool"),
        NodePool.deleted_at.is_(None),
    )
    # Until the job is stored, the pool cannot be deleted.
    .with_for_update(read=True, key_share=True, of=NodePool)
)
_OFFERED = (
    select(NodePool.id, NodePool.default_image_ref)
    .where(
        NodePool.account_id != bindparam("account"),
        NodePool.pool_id == bindparam("pool"),
        NodePool.offered_to_all,
        NodePool.deleted_at.is_(None),
        or_(~_BOUND.exists(), _NAMED.exists()),
    )
    .order_by(NodePool.id)
    .limit(1)
    .with_for_update(read=True, key_share=True, of=NodePool)
)


#: For a statement that stores a job by itself: the id of the account's own pool, if the caller may use it.
USABLE_OWN_POOL = (
    "SELECT p.id FROM node_pools p WHERE p.account_id = :account AND p.pool_id = :pool AND p.deleted_at IS NULL"
    " AND (:is_admin OR NOT EXISTS (SELECT FROM node_pool_bindings b WHERE b.pool_id = p.id)"
    " OR EXISTS (SELECT FROM node_pool_bindings b WHERE b.pool_id = p.id AND b.principal = ANY(:principals)))"
    " FOR KEY SHARE OF p"
)


def usable_own_pool(caller: Caller) -> dict[str, Any]:
    """The values of `USABLE_OWN_POOL` beside `account` and `pool`."""
    return {"is_admin": caller.is_admin, "principals": _principals_of(caller)}


def find_pool(connection: Connection, caller: Caller, pool: str) -> tuple[int, str | None] | None:
    """The row id and the default image of the pool that the caller means, or None. Locks it against deletion.

    Raises PermissionDenied where it is a pool of the caller's account that is bound to others.
    """
    asked = {"account": caller.account, "pool": pool}
    own = connection.execute(_OWN, {**asked, "principals": _principals_of(caller)}).first()
    if own is not None:
        if own.bound and not own.named and not caller.is_admin:
            raise PermissionDenied(f"node pool {pool} is for the principals bound to it, and for account admins")
        return own.id, own.default_image_ref
    offered = connection.execute(_OFFERED, {**asked, "principals": [account_principal(caller.account)]}).first()
    return None if offered is None else (offered.id, offered.default_image_ref)


def account_principal(account: str) -> str:
    """The principal that is every user of an account."""
    return f"accounts/{account}"


def visible_pools(account: str) -> ColumnElement[bool]:
    """The pools that an account sees: its own, and those offered to it whose ids it does not use itself."""
    # An e-mail says nothing over accounts: each account's admins write those of their users.
    let_in = _BOUND.where(NodePoolBinding.principal == account_principal(account)).exists()
    own = aliased(NodePool)
    shadowing = (
        select(own.id)
        .where(own.account_id == account, own.pool_id == NodePool.pool_id, own.deleted_at.is_(None))
        .correlate(NodePool)
    )
    offered = and_(NodePool.offered_to_all, or_(~_BOUND.exists(), let_in), ~shadowing.exists())
    return and_(NodePool.deleted_at.is_(None), or_(NodePool.account_id == account, offered))


def lock_own_pools(
    connection: Connection, account: str, pools: Sequence[str], *, for_deletion: bool = False
) -> dict[str, Row[Any]]:
    """The account's own pools by id, locked: against other changes and placements, or against everything.

    Raises NotFound for one that the account does not see, PermissionDenied for one that is another's.
    """
    rows = connection.execute(
        select(*NodePool.__table__.columns)
        .where(NodePool.account_id == account, NodePool.pool_id.in_(list(pools)), NodePool.deleted_at.is_(None))
        # In one order, so that two who want several do not wait for each other.
        .order_by(NodePool.id)
        .with_for_update(key_share=not for_deletion)
    )
    found = {row.pool_id: row for row in rows}
    for pool in pools:
        if pool not in found:
            raise not_own(connection, account, pool)
    return found


def own_pool_row(connection: Connection, account: str, pool: str, *, keep: bool = False) -> int:
    """The row id of the account's own pool; `keep` holds off its deletion. Raises as `lock_own_pools` does."""
    found = select(NodePool.id).where(
        NodePool.account_id == account, NodePool.pool_id == pool, NodePool.deleted_at.is_(None)
    )
    if keep:
        found = found.with_for_update(read=True, key_share=True)
    row: int | None = connection.execute(found).scalar()
    if row is None:
        raise not_own(connection, account, pool)
    return row


def not_own(connection: Connection, account: str, pool: str) -> NotFound | PermissionDenied:
    """Why a pool is not the account's to change: it is another's and offered, or it is not there."""
    seen = connection.execute(select(NodePool.id).where(visible_pools(account), NodePool.pool_id == pool)).first()
    if seen is None:
        return pool_not_found(account, pool)
    return PermissionDenied(f"node pool {pool} is offered by another account: only its admins may do this")


def pool_not_found(account: str, pool: str) -> NotFound:
    """The one answer for a pool that is not there and a pool that the account does not see."""
    return NotFound(f"there is no node pool accounts/{account}/nodePools/{pool}")


def _principals_of(caller: Caller) -> list[str]:
    return [caller.email.lower(), account_principal(caller.account)]
