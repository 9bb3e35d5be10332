"""Nodes as workers and supervisors know them: capacity, facts, leases, and every move of a node's state.

    DOWN ──answers──▶ READY ◀──▶ DRAINING          (DRAINING where a drain is asked for)
      ▲──────────silence─────────┘

Nodes as a resource of the API, and pools, are in `core.pools`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from core.database import Database
from core.engine_versions import why_unfit
from core.models import Node, NodePool

#: Slots of a CPU node whose pool does not say: the larger of this and twice its CPUs (API.md, Node pools).
MINIMUM_DEFAULT_SLOTS = 8

READY, DRAINING, DOWN = "READY", "DRAINING", "DOWN"
_DETAIL_CHARACTERS = 500


@dataclass(frozen=True)
class NodeRecord:
    """One engine, as a worker or a supervisor needs to know it."""

    id: int
    pool_row: int
    name: str
    endpoint: str
    worker_group: str


@dataclass(frozen=True)
class EngineFacts:
    """What an engine says of itself and its host. `engine_id` is the same by whatever endpoint it is asked."""

    engine_id: str
    version: str
    cpu_count: int
    gpu_count: int
    memory_bytes: int
    #: None where it cannot be known from here
    free_disk_bytes: int | None
    #: likewise, and of a file system that counts none
    free_inodes: int | None = None
    #: manager, worker, or empty: in no swarm
    swarm_role: str = ""
    #: when the engine was started last, by its own clock; None where that cannot be told
    started_at: datetime | None = None
    #: whether a restart of the engine leaves containers running (live restore)
    keeps_containers: bool = False


@dataclass(frozen=True)
class Floor:
    """Below this nothing new is placed on a node: free bytes and inodes of its engine's disk. 0 = no limit."""

    disk_bytes: int = 0
    inodes: int = 0


def ensure_pool(
    database: Database, *, account: str, pool: str = "default", default_image: str | None = None
) -> None:
    """Make the account's pool where it is missing; an existing one keeps its settings."""
    with database.transaction() as connection:
        connection.execute(
            upsert(NodePool)
            .values(account_id=account, pool_id=pool, default_image_ref=default_image)
            .on_conflict_do_nothing()
        )


def ensure_node(
    database: Database,
    *,
    account: str,
    pool: str = "default",
    name: str = "local",
    endpoint: str,
    worker_group: str = "local",
    cpu_count: int,
    memory_bytes: int,
    slots: int = 0,
) -> None:
    """Make the pool's node where it is missing, READY, and bring its endpoint and capacity up to date.

    `slots` 0 leaves an existing node's as they were asked for, and a new one's to the pool's rule. An engine
    that is a node by another name already stays that node.
    """
    facts = {
        "endpoint": endpoint,
        "worker_group": worker_group,
        "cpu_count": cpu_count,
        "memory_bytes": memory_bytes,
        **({"wanted_slots": slots} if slots else {}),
    }
    with database.transaction() as connection:
        pool_row = connection.execute(
            select(NodePool.id).where(
                NodePool.account_id == account, NodePool.pool_id == pool, NodePool.deleted_at.is_(None)
            )
        ).scalar_one()
        of_engine = connection.execute(
            select(Node.pool_id, Node.name).where(
                Node.endpoint == endpoint, Node.worker_group == worker_group, Node.deleted_at.is_(None)
            )
        ).first()
        if of_engine is not None and tuple(of_engine) != (pool_row, name):
            return
        node_id = connection.execute(
            upsert(Node)
            .values(pool_id=pool_row, name=name, slots=0, **facts)
            .on_conflict_do_update(
                index_elements=[Node.pool_id, Node.name], index_where=Node.deleted_at.is_(None), set_=facts
            )
            .returning(Node.id)
        ).scalar_one()
        fit_slots(connection, Node.id == node_id)


def fit_slots(connection: Connection, which: ColumnElement[bool]) -> bool:
    """Give these nodes the slots that they should have; whether any changed.

    What was asked for; else the pool's `ranksPerNode`; else the node's GPUs if it has any, else the larger of 8
    and twice its CPUs (API.md, Node pools). A node that nobody has seen has none.
    """
    by_rule = func.coalesce(
        func.nullif(Node.wanted_slots, 0),
        func.nullif(NodePool.ranks_per_node, 0),
        func.nullif(Node.gpu_count, 0),
        case((Node.cpu_count > 0, func.greatest(MINIMUM_DEFAULT_SLOTS, 2 * Node.cpu_count)), else_=0),
    )
    changed = connection.execute(
        update(Node)
        .where(which, Node.deleted_at.is_(None), NodePool.id == Node.pool_id, Node.slots != by_rule)
        .values(slots=by_rule)
    )
    return changed.rowcount > 0


def get_node(database: Database, node_id: int) -> NodeRecord:
    """The node of that row id; it must exist."""
    with database.transaction() as connection:
        row = connection.execute(_select_nodes().where(Node.id == node_id)).one()
    return NodeRecord(row.id, row.pool_id, row.name, row.endpoint, row.worker_group)


def nodes_of_group(database: Database, worker_group: str) -> list[NodeRecord]:
    """The nodes that a worker group serves."""
    serves = and_(Node.worker_group == worker_group, Node.deleted_at.is_(None))
    with database.transaction() as connection:
        rows = connection.execute(_select_nodes().where(serves).order_by(Node.id))
        return [NodeRecord(*row) for row in rows]


def take_lease(database: Database, node_id: int, owner: str, seconds: float) -> bool:
    """Take or renew the hold on a node; False while another owner's lease is running, or once it is deleted.

    Time is the database's, so that clocks of hosts do not matter.
    """
    with database.transaction() as connection:
        result = connection.execute(
            update(Node)
            .where(
                Node.id == node_id,
                Node.deleted_at.is_(None),
                or_(
                    Node.lease_owner.is_(None),
                    Node.lease_owner == owner,
                    Node.lease_until < func.now(),
                ),
            )
            .values(
                lease_owner=owner,
                lease_until=func.now() + text("make_interval(secs => :seconds)").bindparams(seconds=seconds),
            )
        )
        return result.rowcount == 1


def renew_leases(
    database: Database, node_ids: Sequence[int], owner: str, seconds: float
) -> tuple[set[int], set[int]]:
    """Renew an owner's holds together: those renewed, and those that are another's, nobody's, or deleted.

    A node whose row somebody else has locked is in neither: the others do not wait for it.
    """
    with database.transaction() as connection:
        asked = {"nodes": list(node_ids), "owner": owner, "seconds": seconds}
        renewed = set(connection.execute(_RENEW, asked).scalars())
        lost = set(connection.execute(_NOT_HELD, asked).scalars()) if len(renewed) < len(node_ids) else set()
        return renewed, lost - renewed


_RENEW = text(
    "UPDATE nodes SET lease_until = now() + make_interval(secs => :seconds) WHERE id IN (SELECT id FROM nodes"
    " WHERE id = ANY(:nodes) AND lease_owner = :owner AND deleted_at IS NULL"
    " ORDER BY id FOR NO KEY UPDATE SKIP LOCKED) RETURNING id"
)
_NOT_HELD = text(
    "SELECT wanted.id FROM unnest(CAST(:nodes AS bigint[])) AS wanted(id) WHERE NOT EXISTS (SELECT 1 FROM nodes n"
    " WHERE n.id = wanted.id AND n.lease_owner = :owner AND n.deleted_at IS NULL)"
)


def drop_lease(database: Database, node_id: int, owner: str) -> None:
    """Give the hold up, so that the next supervisor need not wait for it to run out."""
    with database.transaction() as connection:
        connection.execute(
            update(Node)
            .where(Node.id == node_id, Node.lease_owner == owner)
            .values(lease_owner=None, lease_until=None)
        )


#: What an engine says is asked for again and again: no commit of it need wait for the disk.
_UNHURRIED = text("SET LOCAL synchronous_commit = off")


# Text, and one statement: every node is asked every few seconds.
_ANSWERED = text(
    "WITH before AS (SELECT id, state FROM nodes WHERE id = :node FOR NO KEY UPDATE)"  # noqa: S608
    " UPDATE nodes SET seen_at = now(), engine_version = :version,"
    f" state = CASE WHEN before.state <> '{DOWN}' THEN before.state"
    f" WHEN drain_requested THEN '{DRAINING}' ELSE '{READY}' END,"
    f" state_detail = CASE WHEN before.state = '{DOWN}' THEN '' ELSE state_detail END,"
    f" state_since = CASE WHEN before.state = '{DOWN}' THEN now() ELSE state_since END"
    f" FROM before WHERE nodes.id = before.id RETURNING before.state = '{DOWN}'"
)


def record_answer(database: Database, node_id: int, engine_version: str) -> bool:
    """Note that the engine answered; a node that was DOWN is there again. Whether there may be new room."""
    with database.transaction() as connection:
        connection.execute(_UNHURRIED)
        return bool(connection.execute(_ANSWERED, {"node": node_id, "version": engine_version}).scalar())


def record_facts(database: Database, node_id: int, facts: EngineFacts, floor: Floor | None = None) -> bool:
    """Note what the engine said of its host, which is an answer as well. Whether there may be new room."""
    with database.transaction() as connection:
        connection.execute(_UNHURRIED)
        before = connection.execute(
            select(Node.withheld, NodePool.network)
            .join(NodePool, NodePool.id == Node.pool_id)
            .where(Node.id == node_id)
        ).one()
        withheld = why_withheld(facts, before.network, floor or Floor())
        connection.execute(
            update(Node)
            .where(Node.id == node_id)
            .values(
                seen_at=func.now(),
                engine_version=facts.version,
                cpu_count=facts.cpu_count,
                gpu_count=facts.gpu_count,
                memory_bytes=facts.memory_bytes,
                free_disk_bytes=facts.free_disk_bytes,
                free_inodes=facts.free_inodes,
                swarm_role=facts.swarm_role,
                withheld=withheld,
            )
        )
        fitted = fit_slots(connection, Node.id == node_id)
        freed = bool(before.withheld) and not withheld
        return _move_up(connection, node_id) or fitted or freed


def why_withheld(facts: EngineFacts, pool_network: str, floor: Floor) -> str:
    """Why nothing new is to be placed on an engine that answers; empty where it takes ranks. Pure."""
    unfit = why_unfit(facts.version)
    if unfit:
        return unfit
    if facts.free_disk_bytes is not None and facts.free_disk_bytes < floor.disk_bytes:
        return f"its disk is below {_mib(floor.disk_bytes)}: {_mib(facts.free_disk_bytes)} are free"
    if facts.free_inodes is not None and facts.free_inodes < floor.inodes:
        return f"its disk is below {floor.inodes} inodes: {facts.free_inodes} are free"
    if pool_network == "overlay" and not facts.swarm_role:
        return "its engine is in no swarm, which the pool's network, overlay, needs"
    return ""


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"


def record_silence(database: Database, node_id: int, detail: str) -> None:
    """Note that the engine does not answer: nothing new is placed there. What runs there is left alone."""
    detail = detail.replace("\0", "")[:_DETAIL_CHARACTERS]
    with database.transaction() as connection:
        connection.execute(
            update(Node)
            .where(Node.id == node_id, or_(Node.state != DOWN, Node.state_detail != detail))
            .values(
                state=DOWN,
                state_detail=detail,
                state_since=case((Node.state == DOWN, Node.state_since), else_=func.now()),
            )
        )


def set_drain(connection: Connection, node_id: int, *, wanted: bool) -> None:
    """Ask for a drain, or no more: what runs there ends by itself, nothing new is placed. Again is no change.

    A node that is DOWN stays so, and is DRAINING when it is back.
    """
    connection.execute(
        update(Node)
        .where(Node.id == node_id, Node.drain_requested != wanted)
        .values(drain_requested=wanted, updated_at=func.now())
    )
    source, target = (READY, DRAINING) if wanted else (DRAINING, READY)
    connection.execute(
        update(Node)
        .where(Node.id == node_id, Node.state == source)
        .values(state=target, state_detail="", state_since=func.now())
    )


def _move_up(connection: Connection, node_id: int) -> bool:
    back = connection.execute(
        update(Node)
        .where(Node.id == node_id, Node.state == DOWN)
        .values(state=case((Node.drain_requested, DRAINING), else_=READY), state_detail="", state_since=func.now())
    )
    return back.rowcount > 0


def _select_nodes() -> Select[int, int, str, str, str]:
    return select(Node.id, Node.pool_id, Node.name, Node.endpoint, Node.worker_group)
