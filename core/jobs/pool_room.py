"""What a pool has and what of it is free, counted from the rows of the ranks that hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from core.jobs.gang_networks import SPANNING
from core.placement.values import NodeRoom


@dataclass(frozen=True)
class PoolRoom:
    """The pool's nodes that take ranks now, and who serves them."""

    nodes: tuple[NodeRoom, ...]
    may_span: bool
    #: `node_pools.network`
    network: str
    has_gpus: bool
    worker_groups: Mapping[int, str]
    #: by node, the GPUs that are held
    gpus_held: Mapping[int, frozenset[int]]


# From the pool, so that there is a row although it has no node. A node that is away makes a pool no pool
# without GPUs.
_ROOM = text(
    "SELECT pool.cpu_limit, pool.memory_limit_bytes, pool.network,"
    " EXISTS (SELECT 1 FROM nodes g WHERE g.pool_id = pool.id AND g.gpu_count > 0 AND g.deleted_at IS NULL)"
    " AS has_gpus, n.id, n.name, n.worker_group, n.slots, n.cpu_count, n.memory_bytes, n.gpu_count,"
    # What the pool says of all its nodes, and over it what a node says of itself.
    " pool.labels || n.labels AS labels,"
    " held.ranks, held.naming_cpu, held.cpu_milli, held.naming_memory, held.memory, held.gpus"
    " FROM node_pools pool"
    " LEFT JOIN nodes n ON n.pool_id = pool.id AND n.state = 'READY' AND n.withheld = '' AND n.deleted_at IS NULL"
    " LEFT JOIN LATERAL (SELECT count(*) AS ranks, count(r.cpu_milli) AS naming_cpu,"
    " coalesce(sum(r.cpu_milli), 0)::bigint AS cpu_milli, count(r.memory_bytes) AS naming_memory,"
    " coalesce(sum(r.memory_bytes), 0)::bigint AS memory,"
    " array_agg(r.gpu) FILTER (WHERE r.gpu IS NOT NULL) AS gpus"
    " FROM ranks r WHERE r.node_id = n.id AND r.released_at IS NULL) held ON true"
    " WHERE pool.id = :pool ORDER BY n.id"
)


def read_pool_room(connection: Connection, pool_row: int) -> PoolRoom:
    """The pool's room now. It can be relied on only by who holds the pool's row."""
    rows = connection.execute(_ROOM, {"pool": pool_row}).all()
    nodes = [row for row in rows if row.id is not None]
    return PoolRoom(
        nodes=tuple(_room(row) for row in nodes),
        may_span=bool(rows) and rows[0].network in SPANNING,
        network=rows[0].network if rows else "",
        has_gpus=bool(rows) and rows[0].has_gpus,
        worker_groups={row.id: row.worker_group for row in nodes},
        gpus_held={row.id: frozenset(row.gpus or ()) for row in nodes},
    )


def _room(row: Row[Any]) -> NodeRoom:
    """A node's room; never below nothing, where it was made smaller than what runs: that is no other's debt.

    A rank that names nothing is counted with its slot's share, which is at most what its container may use: the
    pool's limit of CPU, and of memory the rule of `launching`.
    """
    slots = max(row.slots, 1)
    cpu, memory = row.cpu_count * 1000, row.memory_bytes * 9 // 10
    cpu_share = min(int(row.cpu_limit * 1000), cpu // slots)
    memory_share = row.memory_limit_bytes or memory // slots
    return NodeRoom(
        id=row.id,
        name=row.name,
        slots=row.slots,
        free=max(0, row.slots - row.ranks),
        cpu_milli=cpu,
        cpu_free=max(0, cpu - row.cpu_milli - (row.ranks - row.naming_cpu) * cpu_share),
        memory_bytes=memory,
        memory_free=max(0, memory - row.memory - (row.ranks - row.naming_memory) * memory_share),
        gpus=row.gpu_count,
        gpus_free=max(0, row.gpu_count - row.ranks),
        cpu_share=cpu_share,
        memory_share=memory_share,
        labels=row.labels,
    )
