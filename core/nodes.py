"""Pools and nodes: making them known, their capacity, and the supervisor's lease on each."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Select, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from core.database import Database
from core.models import Node, NodePool

#: Slots of a CPU node whose pool does not say: the larger of this and twice its CPUs (API.md, Node pools).
MINIMUM_DEFAULT_SLOTS = 8


@dataclass(frozen=True)
class NodeRecord:
    """One engine, as a worker or a supervisor needs to know it."""

    id: int
    pool_row: int
    name: str
    endpoint: str
    worker_group: str


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
) -> None:
    """Make the pool's node where it is missing, and bring its endpoint and capacity up to date."""
    with database.transaction() as connection:
        pool_row = connection.execute(
            select(NodePool.id, NodePool.ranks_per_node).where(
                NodePool.account_id == account, NodePool.pool_id == pool
            )
        ).one()
        facts = {
            "endpoint": endpoint,
            "worker_group": worker_group,
            "cpu_count": cpu_count,
            "memory_bytes": memory_bytes,
            "slots": pool_row.ranks_per_node or max(MINIMUM_DEFAULT_SLOTS, 2 * cpu_count),
        }
        connection.execute(
            upsert(Node)
            .values(pool_id=pool_row.id, name=name, **facts)
            .on_conflict_do_update(
                index_elements=[Node.pool_id, Node.name], index_where=Node.deleted_at.is_(None), set_=facts
            )
        )


def get_node(database: Database, node_id: int) -> NodeRecord:
    """The node of that row id; it must exist."""
    with database.transaction() as connection:
        row = connection.execute(_select_nodes().where(Node.id == node_id)).one()
    return NodeRecord(row.id, row.pool_id, row.name, row.endpoint, row.worker_group)


def nodes_of_group(database: Database, worker_group: str) -> list[NodeRecord]:
    """The nodes that a worker group serves."""
    with database.transaction() as connection:
        rows = connection.execute(_select_nodes().where(Node.worker_group == worker_group).order_by(Node.id))
        return [NodeRecord(*row) for row in rows.tuples()]


def take_lease(database: Database, node_id: int, owner: str, seconds: float) -> bool:
    """Take or renew the hold on a node; False while another owner's lease is running.

    Time is the database's, so that clocks of hosts do not matter.
    """
    with database.transaction() as connection:
        result = connection.execute(
            update(Node)
            .where(
                Node.id == node_id,
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


def drop_lease(database: Database, node_id: int, owner: str) -> None:
    """Give the hold up, so that the next supervisor need not wait for it to run out."""
    with database.transaction() as connection:
        connection.execute(
            update(Node)
            .where(Node.id == node_id, Node.lease_owner == owner)
            .values(lease_owner=None, lease_until=None)
        )


def record_answer(database: Database, node_id: int, engine_version: str) -> None:
    """Note that the engine answered; a node that was DOWN is READY again."""
    with database.transaction() as connection:
        connection.execute(
            update(Node).where(Node.id == node_id).values(seen_at=func.now(), engine_version=engine_version)
        )
        connection.execute(
            update(Node)
            .where(Node.id == node_id, Node.state == "DOWN")
            .values(state="READY", state_detail="", state_since=func.now())
        )


def record_silence(database: Database, node_id: int, detail: str) -> None:
    """Note that the engine does not answer: nothing new is placed there. What runs there is left alone."""
    with database.transaction() as connection:
        connection.execute(
            update(Node)
            .where(Node.id == node_id, Node.state == "READY")
            .values(state="DOWN", state_detail=detail, state_since=func.now())
        )


def _select_nodes() -> Select[int, int, str, str, str]:
    return select(Node.id, Node.pool_id, Node.name, Node.endpoint, Node.worker_group)
