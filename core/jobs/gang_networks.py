"""The networks of gangs: on which engines each may be, when it may be used, and when it has to go.

    bridge    the gang is on one host, and so is its network
    overlay   the gang is on several, and the network is of their swarm: a manager makes it and removes it
    host      the gang is on several, uses their own addresses: there is no network to make, and no block is held

Where a network is going to be is written down before it is made there: one that no row explains is a stray.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Network

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    bindparam,
    delete,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import array

from core.database import Database
from core.errors import EngineError, Superseded
from core.jobs.stopping import StopOrder
from core.models import GangNetwork, Node, Rank
from core.states import RANK_ENDED, RankState

BRIDGE, OVERLAY, HOST = "bridge", "overlay", "host"
#: What `node_pools.network` may be; the platform's own choice is a bridge.
POOL_NETWORKS = ("", BRIDGE, OVERLAY, HOST)
#: With these a gang may be on several hosts.
SPANNING = (OVERLAY, HOST)

MANAGER, WORKER = "manager", "worker"


@dataclass(frozen=True)
class OverlayHome:
    """The manager on which an attempt's overlay is, or is to be made."""

    node_id: int
    endpoint: str
    worker_group: str
    subnet: IPv4Network
    is_ready: bool


def driver_of(pool_network: str, nodes: int) -> str:
    """What network a gang on so many nodes gets in a pool."""
    return pool_network if nodes > 1 and pool_network in SPANNING else BRIDGE


_ROW = (
    select(GangNetwork.subnet, GangNetwork.nodes, GangNetwork.is_ready, GangNetwork.pool_id)
    .where(GangNetwork.job_id == bindparam("job"), GangNetwork.attempt == bindparam("of_attempt"))
    .with_for_update()
)


def overlay_home(database: Database, job_id: str, attempt: int) -> OverlayHome:
    """Where the attempt's overlay is; where it is nowhere yet, that is decided and written down.

    A manager that has gone DOWN meanwhile makes room for another. Raises Superseded where the attempt has no
    network any more, and EngineError where no node of the pool that is up manages its swarm.
    """
    with database.transaction() as connection:
        row = connection.execute(_ROW, {"job": job_id, "of_attempt": attempt}).first()
        if row is None or row.subnet is None:
            raise Superseded(f"attempt {attempt} of job {job_id} has no network to make any more")
        manager = connection.execute(
            select(Node.id, Node.endpoint, Node.worker_group)
            .where(
                Node.pool_id == row.pool_id,
                Node.deleted_at.is_(None),
                Node.state != "DOWN",
                Node.swarm_role == MANAGER,
            )
            # The one that was chosen before stays.
            .order_by(Node.id != func.coalesce(func.nullif(row.nodes[0] if row.nodes else 0, 0), 0), Node.id)
            .limit(1)
        ).first()
        if manager is None:
            raise EngineError("no node of the pool that is up manages its swarm, so that there is no network")
        if manager.id not in row.nodes:
            connection.execute(
                update(GangNetwork)
                .where(GangNetwork.job_id == job_id, GangNetwork.attempt == attempt)
                .values(nodes=func.array_append(GangNetwork.nodes, manager.id))
            )
        return OverlayHome(
            manager.id, manager.endpoint, manager.worker_group, IPv4Network(row.subnet), row.is_ready
        )


def record_overlay(database: Database, job_id: str, attempt: int) -> list[StopOrder]:
    """A manager has the attempt's overlay; the launches that may have waited for it."""
    with database.transaction() as connection:
        connection.execute(
            update(GangNetwork)
            .where(GangNetwork.job_id == job_id, GangNetwork.attempt == attempt)
            .values(is_ready=True)
        )
        rows = connection.execute(
            select(Node.worker_group, Node.id)
            .distinct()
            .join(Rank, Rank.node_id == Node.id)
            .where(Rank.job_id == job_id, Rank.attempt == attempt, Rank.state == RankState.PLACED.value)
        )
        return [StopOrder(row.worker_group, job_id, attempt, row.id) for row in rows]


_HELD_BY_RANKS = (
    select(Rank.rank)
    .where(
        Rank.job_id == GangNetwork.job_id,
        Rank.attempt == GangNetwork.attempt,
        or_(Rank.state.not_in([state.value for state in RANK_ENDED]), Rank.released_at.is_(None)),
    )
    .exists()
)


_TO_REMOVE = select(GangNetwork.job_id, GangNetwork.attempt).where(
    ~_HELD_BY_RANKS, GangNetwork.nodes.contains(array([bindparam("node", type_=BigInteger)]))
)
_HELD = select(GangNetwork.job_id, GangNetwork.attempt).where(GangNetwork.job_id == func.any(bindparam("jobs")))


def networks_to_remove(database: Database, node_id: int) -> list[tuple[str, int]]:
    """The (job, attempt) whose ranks have all been released and whose network the node's engine may still have."""
    with database.transaction() as connection:
        rows = connection.execute(_TO_REMOVE, {"node": node_id})
        return [(row.job_id, row.attempt) for row in rows]


_GONE = text(
    "UPDATE gang_networks SET nodes = array_remove(nodes, :node) WHERE job_id = :job AND attempt = :attempt"
)


def record_network_gone(database: Database, job_id: str, attempt: int, node_id: int) -> None:
    """The node's engine has the attempt's network no more; with the last of them its address block is free."""
    with database.transaction() as connection:
        connection.execute(_GONE, {"node": node_id, "job": job_id, "attempt": attempt})
        _free(connection, GangNetwork.job_id == job_id, GangNetwork.attempt == attempt)


def free_unused_blocks(database: Database) -> None:
    """Forget the networks of attempts that are over and that no engine has, or only engines of deleted nodes."""
    with database.transaction() as connection:
        _free(connection)


def held_networks(database: Database, gangs: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
    """Those of these (job, attempt) whose network may be somewhere, or whose ranks still run."""
    with database.transaction() as connection:
        rows = connection.execute(_HELD, {"jobs": sorted({job_id for job_id, _ in gangs})})
        return {(row.job_id, row.attempt) for row in rows}.intersection(gangs)


def _free(connection: Connection, *which: ColumnElement[bool]) -> None:
    there = select(Node.id).where(Node.id == func.any(GangNetwork.nodes), Node.deleted_at.is_(None)).exists()
    connection.execute(delete(GangNetwork).where(*which, ~_HELD_BY_RANKS, ~there))
