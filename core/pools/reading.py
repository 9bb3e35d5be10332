"""Questions about pools: one, a page of them, and what is going on in each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Text, func, literal, select, text

from core.accounts import Caller
from core.database import Database
from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.listing.paging import ListQuery, Page, select_page
from core.models import Job, Node, NodePool
from core.pools.access import pool_not_found, visible_pools
from core.states import JOB_ENDED

#: The only state of a pool that is there (API.md, NodePool).
READY = "READY"
STATES = ("STATE_UNSPECIFIED", "CREATING", READY, "DELETING", "FAILED")


@dataclass(frozen=True)
class PoolRecord:
    """A pool as stored; `row` is the key of every row of it and is never on the wire. Sizes are in bytes."""

    row: int
    account: str
    pool_id: str
    display_name: str
    default_image_ref: str | None
    ranks_per_node: int
    cpu_limit: float
    memory_limit_bytes: int | None
    shm_bytes: int | None
    min_node_count: int
    max_node_count: int
    overprovision_node_count: int
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    network: str
    node_role: str
    offered_to_all: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class PoolStats:
    """What goes on in a pool. Of jobs only live ones count, by state; an ended job takes nothing of a pool."""

    node_count: int = 0
    ranks_per_node: int = 0
    job_count: Mapping[str, int] = field(default_factory=dict)
    job_ranks: Mapping[str, int] = field(default_factory=dict)


COLUMNS = (
    NodePool.id.label("row"),
    NodePool.account_id.label("account"),
    *(getattr(NodePool, name) for name in PoolRecord.__dataclass_fields__ if name not in ("row", "account")),
)


def _text(column: Any, *, free_text: bool = False) -> ListField:
    return ListField(FieldType.TEXT, column, free_text=free_text)


def _number(column: Any) -> ListField:
    return ListField(FieldType.NUMBER, column)


_DOCKER = "dockerNodePool"
POOL_LISTING = Listing(
    {
        "name": _text(
            literal("accounts/", Text()) + NodePool.account_id + literal("/nodePools/", Text()) + NodePool.pool_id,
            free_text=True,
        ),
        "displayName": _text(NodePool.display_name, free_text=True),
        "createTime": ListField(FieldType.TIME, NodePool.created_at),
        "updateTime": ListField(FieldType.TIME, NodePool.updated_at),
        "minNodeCount": _number(NodePool.min_node_count),
        "maxNodeCount": _number(NodePool.max_node_count),
        "overprovisionNodeCount": _number(NodePool.overprovision_node_count),
        "annotations": ListField(FieldType.MAP, NodePool.annotations),
        "state": ListField(FieldType.ENUM, literal(READY, Text()), names=STATES),
        "offeredToAll": ListField(FieldType.BOOL, NodePool.offered_to_all),
        f"{_DOCKER}.ranksPerNode": _number(NodePool.ranks_per_node),
        f"{_DOCKER}.network": _text(NodePool.network),
        f"{_DOCKER}.defaultImageRef": _text(func.coalesce(NodePool.default_image_ref, literal("", Text()))),
        f"{_DOCKER}.nodeRole": _text(NodePool.node_role),
        f"{_DOCKER}.labels": ListField(FieldType.MAP, NodePool.labels),
    },
    (OrderTerm("name"),),
    ListField(FieldType.NUMBER, NodePool.id),
)


def get_pool(database: Database, account: str, pool: str) -> PoolRecord:
    """The pool that the account means by this id, its own or one offered to it. Raises NotFound."""
    with database.transaction() as connection:
        return read_pool(connection, account, pool)


def read_pool(connection: Connection, account: str, pool: str) -> PoolRecord:
    """`get_pool` within a transaction."""
    row = connection.execute(
        select(*COLUMNS)
        .where(visible_pools(account), NodePool.pool_id == pool)
        .order_by(NodePool.account_id != account, NodePool.id)
        .limit(1)
    ).first()
    if row is None:
        raise pool_not_found(account, pool)
    return PoolRecord(**row._mapping)


def list_pools(database: Database, account: str, query: ListQuery) -> Page[PoolRecord]:
    """A page of the pools that the account sees, by the fields of `POOL_LISTING`."""
    with database.transaction() as connection:
        return select_page(
            connection,
            select(*COLUMNS).where(visible_pools(account)),
            POOL_LISTING,
            query,
            lambda fields: PoolRecord(**fields),
        )


_LIVE = text(f"jobs.state NOT IN ({', '.join(sorted(repr(state.value) for state in JOB_ENDED))})")


def read_stats(database: Database, caller: Caller, pools: Sequence[PoolRecord]) -> dict[int, PoolStats]:
    """What goes on in each pool, by row id. In another account's pool, of the jobs only the caller's account's."""
    rows = [pool.row for pool in pools]
    with database.transaction() as connection:
        nodes = connection.execute(
            select(Node.pool_id, func.count(), func.min(Node.slots))
            .where(Node.pool_id.in_(rows), Node.deleted_at.is_(None), Node.state != "DOWN")
            .group_by(Node.pool_id)
        ).all()
        jobs = connection.execute(
            select(Job.pool_id, Job.state, func.count(), func.sum(Job.num_ranks))
            .join(NodePool, NodePool.id == Job.pool_id)
            .where(
                Job.pool_id.in_(rows),
                _LIVE,
                # The owner sees all that runs on his nodes.
                (NodePool.account_id == caller.account) | (Job.account_id == caller.account),
            )
            .group_by(Job.pool_id, Job.state)
        ).all()
    of_nodes = {row: (count, fewest) for row, count, fewest in nodes}
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    ranks: dict[int, dict[str, int]] = defaultdict(dict)
    for row, state, count, rank_count in jobs:
        counts[row][state], ranks[row][state] = count, int(rank_count)
    found = {}
    for pool in pools:
        node_count, fewest = of_nodes.get(pool.row, (0, 0))
        found[pool.row] = PoolStats(node_count, pool.ranks_per_node or fewest, counts[pool.row], ranks[pool.row])
    return found
