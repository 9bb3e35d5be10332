"""Pools made, changed and deleted. A deleted pool stays, marked, for the jobs that ran in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from core.database import Database
from core.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from core.models import Job, Node, NodePool, NodePoolBinding, Rank
from core.nodes import fit_slots
from core.pools.access import lock_own_pools
from core.pools.reading import PoolRecord, read_pool
from core.states import JOB_ENDED

_ID_TAKEN = "uq_node_pools_account_id_pool_id"
_ENDED = tuple(sorted(state.value for state in JOB_ENDED))


def create_pool(database: Database, account: str, pool: str, values: Mapping[str, Any]) -> PoolRecord:
    """A new pool without nodes; `values` by column, the others at their defaults. Raises AlreadyExists."""
    try:
        with database.transaction() as connection:
            connection.execute(insert(NodePool).values(account_id=account, pool_id=pool, **values))
            return read_pool(connection, account, pool)
    except IntegrityError as error:
        if _ID_TAKEN in str(error.orig):
            raise AlreadyExists(f"there is a node pool accounts/{account}/nodePools/{pool} already") from None
        raise


def change_pool(database: Database, account: str, pool: str, values: Mapping[str, Any]) -> PoolRecord:
    """Set columns of the account's own pool; its nodes' slots follow.

    Raises NotFound, PermissionDenied for a pool that is another's, InvalidArgument where the counts of nodes
    would contradict each other.
    """
    with database.transaction() as connection:
        stored = lock_own_pools(connection, account, [pool])[pool]
        fewest = values.get("min_node_count", stored.min_node_count)
        most = values.get("max_node_count", stored.max_node_count)
        if 0 < most < fewest:
            raise InvalidArgument.field("minNodeCount", f"must not be more than maxNodeCount, which is {most}")
        if values:
            connection.execute(
                update(NodePool).where(NodePool.id == stored.id).values(**values, updated_at=func.now())
            )
        if "ranks_per_node" in values:
            fit_slots(connection, Node.pool_id == stored.id)
        return read_pool(connection, account, pool)


def delete_pools(database: Database, account: str, pools: Sequence[str]) -> None:
    """Delete pools of the account with their nodes and bindings: all of them, or none.

    Raises NotFound, PermissionDenied, and FailedPrecondition while jobs of one live or hold slots of its nodes.
    """
    with database.transaction() as connection:
        # FOR UPDATE waits for submissions, which hold the row until their job is stored, and keeps new ones away.
        locked = lock_own_pools(connection, account, pools, for_deletion=True)
        for pool in pools:
            _refuse_busy(connection, pool, locked[pool].id)
        rows = [row.id for row in locked.values()]
        gone = {"deleted_at": func.now(), "updated_at": func.now()}
        connection.execute(delete(NodePoolBinding).where(NodePoolBinding.pool_id.in_(rows)))
        connection.execute(update(Node).where(Node.pool_id.in_(rows), Node.deleted_at.is_(None)).values(**gone))
        connection.execute(update(NodePool).where(NodePool.id.in_(rows)).values(**gone))


def _refuse_busy(connection: Connection, pool: str, pool_row: int) -> None:
    live = connection.execute(
        select(func.count()).select_from(Job).where(Job.pool_id == pool_row, Job.state.not_in(_ENDED))
    ).scalar_one()
    holding = connection.execute(
        select(func.count())
        .select_from(Rank)
        .join(Node, Node.id == Rank.node_id)
        .where(Node.pool_id == pool_row, Rank.released_at.is_(None))
    ).scalar_one()
    if live or holding:
        raise FailedPrecondition(
            f"node pool {pool} has {live} live jobs, and {holding} ranks hold slots of its nodes:"
            " cancel the jobs or wait for them to end"
        )
