"""A pool's nodes as a resource: each is one Docker engine, made, read, changed and deleted by its owners.

Every change locks the pool's row first, as placement does, so that nothing is placed on a node meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, Text, and_, bindparam, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from core.database import Database
from core.errors import AlreadyExists, FailedPrecondition, NotFound
from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.listing.paging import ListQuery, Page, select_page
from core.models import Node, NodePool, Rank
from core.nodes import DOWN, DRAINING, READY, fit_slots, set_drain
from core.pools.access import lock_own_pools, own_pool_row

STATES = ("STATE_UNSPECIFIED", READY, DRAINING, DOWN)
_ID_TAKEN, _ENGINE_TAKEN = "uq_nodes_pool_id_name", "uq_nodes_endpoint_worker_group"


@dataclass(frozen=True)
class NodeDetails:
    """A node as its owners see it; the row ids are never on the wire. Sizes are in bytes."""

    row: int
    pool_row: int
    account: str
    pool: str
    node: str
    endpoint: str
    worker_group: str
    address: str
    #: its own, over those of its pool
    labels: Mapping[str, str]
    slots: int
    slots_in_use: int
    cpu_count: int
    gpu_count: int
    memory_bytes: int
    free_disk_bytes: int | None
    free_inodes: int | None
    engine_version: str
    swarm_role: str
    withheld: str
    state: str
    state_detail: str
    state_since: datetime
    created_at: datetime
    updated_at: datetime


_IN_USE = (
    select(func.count())
    .select_from(Rank)
    .where(Rank.node_id == Node.id, Rank.released_at.is_(None))
    .correlate(Node)
    .scalar_subquery()
)
_COLUMNS = (
    Node.id.label("row"),
    Node.pool_id.label("pool_row"),
    NodePool.account_id.label("account"),
    NodePool.pool_id.label("pool"),
    Node.name.label("node"),
    Node.endpoint,
    Node.worker_group,
    Node.address,
    Node.labels,
    Node.slots,
    _IN_USE.label("slots_in_use"),
    Node.cpu_count,
    Node.gpu_count,
    Node.memory_bytes,
    Node.free_disk_bytes,
    Node.free_inodes,
    Node.engine_version,
    Node.swarm_role,
    Node.withheld,
    Node.state,
    Node.state_detail,
    Node.state_since,
    Node.created_at,
    Node.updated_at,
)


def _number(column: Any, *, nullable: bool = False) -> ListField:
    return ListField(FieldType.NUMBER, column, nullable=nullable)


def _text(column: Any) -> ListField:
    return ListField(FieldType.TEXT, column, free_text=True)


_NAME = literal("accounts/", Text()) + NodePool.account_id + literal("/nodePools/", Text()) + NodePool.pool_id
NODE_LISTING = Listing(
    {
        "name": _text(_NAME + literal("/nodes/", Text()) + Node.name),
        "endpoint": _text(Node.endpoint),
        "workerGroup": _text(Node.worker_group),
        "address": _text(Node.address),
        "labels": ListField(FieldType.MAP, Node.labels),
        "slots": _number(Node.slots),
        "slotsInUse": _number(_IN_USE),
        "gpus": _number(Node.gpu_count),
        "cpus": _number(Node.cpu_count),
        "memoryBytes": _number(Node.memory_bytes),
        "freeDiskBytes": _number(Node.free_disk_bytes, nullable=True),
        "freeInodes": _number(Node.free_inodes, nullable=True),
        "engineVersion": _text(Node.engine_version),
        "swarmRole": _text(Node.swarm_role),
        "accepting": ListField(FieldType.BOOL, and_(Node.state == READY, Node.withheld == "")),
        "state": ListField(FieldType.ENUM, Node.state, names=STATES),
        "stateTime": ListField(FieldType.TIME, Node.state_since),
        "createTime": ListField(FieldType.TIME, Node.created_at),
        "updateTime": ListField(FieldType.TIME, Node.updated_at),
    },
    (OrderTerm("name"),),
    ListField(FieldType.NUMBER, Node.id),
)


def create_node(
    database: Database,
    account: str,
    pool: str,
    node: str,
    *,
    endpoint: str,
    worker_group: str,
    slots: int,
    address: str = "",
    labels: Mapping[str, str] | None = None,
) -> NodeDetails:
    """A new node, DOWN until a supervisor of its group has seen its engine; `slots` 0 leaves them to the rule.

    Raises NotFound or PermissionDenied about the pool; AlreadyExists where the id is taken, or the engine is a
    node already.
    """
    try:
        with database.transaction() as connection:
            pool_row = lock_own_pools(connection, account, [pool])[pool].id
            row = connection.execute(
                insert(Node)
                .values(
                    pool_id=pool_row,
                    name=node,
                    endpoint=endpoint,
                    worker_group=worker_group,
                    address=address,
                    labels=dict(labels or {}),
                    slots=0,
                    wanted_slots=slots,
                    cpu_count=0,
                    memory_bytes=0,
                    state=DOWN,
                    state_detail=f"not seen yet: no supervisor of worker group {worker_group} has reached it",
                )
                .returning(Node.id)
            ).scalar_one()
            fit_slots(connection, Node.id == row)
            return _read(connection, account, pool, node)
    except IntegrityError as error:
        raise _taken(error, account, pool, node) from None


def get_node_details(database: Database, account: str, pool: str, node: str) -> NodeDetails:
    """A node of the account's own pool. Raises NotFound, or PermissionDenied for a pool that is another's."""
    with database.transaction() as connection:
        own_pool_row(connection, account, pool)
        return _read(connection, account, pool, node)


def list_nodes(database: Database, account: str, pool: str, query: ListQuery) -> Page[NodeDetails]:
    """A page of the nodes of the account's own pool. Raises as `get_node_details` does."""
    with database.transaction() as connection:
        pool_row = own_pool_row(connection, account, pool)
        base = _select().where(Node.pool_id == pool_row)
        return select_page(connection, base, NODE_LISTING, query, lambda fields: NodeDetails(**fields))


def change_node(
    database: Database,
    account: str,
    pool: str,
    node: str,
    *,
    slots: int | None = None,
    address: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> NodeDetails:
    """Set how many slots are asked for, 0 for the rule's, the host's address, its labels; None changes nothing.

    Ranks that run beyond fewer slots, or by labels that it has no more, go on; nothing new is placed for them.
    """
    given = {"wanted_slots": slots, "address": address, "labels": None if labels is None else dict(labels)}
    changes = {column: value for column, value in given.items() if value is not None}
    with database.transaction() as connection:
        found = _lock(connection, account, pool, node)
        if changes:
            connection.execute(update(Node).where(Node.id == found.row).values(**changes, updated_at=func.now()))
        if slots is not None:
            fit_slots(connection, Node.id == found.row)
        return _read(connection, account, pool, node)


def drain_node(database: Database, account: str, pool: str, node: str, *, wanted: bool) -> NodeDetails:
    """Let nothing new onto the node, or let it in again. Raises as `get_node_details` does."""
    with database.transaction() as connection:
        set_drain(connection, _lock(connection, account, pool, node).row, wanted=wanted)
        return _read(connection, account, pool, node)


def delete_node(database: Database, account: str, pool: str, node: str) -> None:
    """Delete a node on which nothing runs. Raises FailedPrecondition while ranks hold its slots."""
    with database.transaction() as connection:
        found = _lock(connection, account, pool, node)
        if found.slots_in_use:
            raise FailedPrecondition(
                f"{found.slots_in_use} ranks hold slots of node {node}: drain it first and wait for them to end"
            )
        connection.execute(
            update(Node).where(Node.id == found.row).values(deleted_at=func.now(), updated_at=func.now())
        )


_ONE_OF = (
    NodePool.account_id == bindparam("account"),
    NodePool.pool_id == bindparam("pool_id"),
    NodePool.deleted_at.is_(None),
    Node.name == bindparam("node_name"),
)


def _select() -> Select[Any]:
    return select(*_COLUMNS).join(NodePool, NodePool.id == Node.pool_id).where(Node.deleted_at.is_(None))


def _read(connection: Connection, account: str, pool: str, node: str) -> NodeDetails:
    asked = {"account": account, "pool_id": pool, "node_name": node}
    row = connection.execute(_select().where(*_ONE_OF), asked).first()
    if row is None:
        raise node_not_found(account, pool, node)
    return NodeDetails(**row._mapping)


def _lock(connection: Connection, account: str, pool: str, node: str) -> NodeDetails:
    lock_own_pools(connection, account, [pool])
    return _read(connection, account, pool, node)


def node_not_found(account: str, pool: str, node: str) -> NotFound:
    """The answer for a node that is not in its pool."""
    return NotFound(f"there is no node accounts/{account}/nodePools/{pool}/nodes/{node}")


def _taken(error: IntegrityError, account: str, pool: str, node: str) -> Exception:
    if _ID_TAKEN in str(error.orig):
        return AlreadyExists(f"there is a node accounts/{account}/nodePools/{pool}/nodes/{node} already")
    if _ENGINE_TAKEN in str(error.orig):
        return AlreadyExists("an engine with this endpoint and worker group is a node already")
    return error
