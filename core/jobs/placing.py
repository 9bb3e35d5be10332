"""QUEUED → PENDING: what the scheduler looks at, and the one transaction that judges what it decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

import structlog
from sqlalchemy import Connection, bindparam, func, insert, select, update

from core.database import Database
from core.errors import ResourceExhausted
from core.jobs import job_moves, rank_moves
from core.jobs.stopping import StopOrder
from core.models import GangNetwork, Job, Node, NodePool, Rank
from core.states import JobState
from core.subnets import first_free_block

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class NodeRoom:
    """A node that takes ranks now, and how many more."""

    id: int
    name: str
    slots: int
    free: int


@dataclass(frozen=True)
class WaitingJob:
    """A queued job, in the order of its turn."""

    id: str
    attempt: int
    num_ranks: int
    waited_seconds: float
    status: str


@dataclass(frozen=True)
class Snapshot:
    """What one scheduling pass decides from. It may be out of date when the decision arrives."""

    pool_row: int
    nodes: tuple[NodeRoom, ...]
    waiting: tuple[WaitingJob, ...]


@dataclass(frozen=True)
class Placement:
    """Rank i of the attempt goes to the node `nodes[i]`: all ranks, or there is no placement."""

    job_id: str
    attempt: int
    nodes: tuple[int, ...]


#: A launch is ordered exactly as a stop is: an attempt on a node, by the group that serves it.
LaunchOrder = StopOrder

#: How many queued jobs one pass looks at; the rest are seen when these have moved on.
PASS_LIMIT = 200


_WAITING = (
    select(Job.id, Job.attempt, Job.num_ranks, func.extract("epoch", func.now() - Job.created_at), Job.status)
    .where(Job.pool_id == bindparam("pool"), Job.state == JobState.QUEUED.value)
    .order_by(Job.created_at, Job.id)
    .limit(PASS_LIMIT)
)


def take_snapshot(database: Database, pool_row: int, *, with_room: bool = False) -> Snapshot:
    """The pool's room and the head of its queue, oldest first; `with_room` looks at room although none waits."""
    with database.transaction() as connection:
        waiting = connection.execute(_WAITING, {"pool": pool_row}).all()
        if not waiting and not with_room:
            return Snapshot(pool_row, (), ())
        return Snapshot(
            pool_row,
            tuple(_room(connection, pool_row)),
            tuple(WaitingJob(row[0], row[1], row[2], float(row[3]), row[4]) for row in waiting),
        )


def place(
    database: Database, pool_row: int, placements: Sequence[Placement], network_range: IPv4Network
) -> list[LaunchOrder]:
    """Reserve room for each placement that still fits; the launches to ring for.

    The pool's row is locked, so that capacity is counted by one transaction at a time: this is the only
    judge of it. A placement that no longer fits, or whose job has moved on, is passed over.
    """
    if not placements:
        return []
    with database.transaction() as connection:
        # FOR NO KEY UPDATE: a new job's reference to its pool does not wait for it.
        connection.execute(select(NodePool.id).where(NodePool.id == pool_row).with_for_update(key_share=True))
        free = {room.id: room.free for room in _room(connection, pool_row)}
        served = connection.execute(select(Node.id, Node.worker_group).where(Node.pool_id == pool_row))
        groups = {row.id: row.worker_group for row in served}
        orders: list[LaunchOrder] = []
        for placement in placements:
            wanted = Counter(placement.nodes)
            if any(free.get(node, 0) < count for node, count in wanted.items()):
                continue
            if not _reserve(connection, pool_row, placement, network_range):
                continue
            for node, count in wanted.items():
                free[node] -= count
                orders.append(LaunchOrder(groups[node], placement.job_id, placement.attempt, node))
        return orders


def write_waiting(database: Database, reasons: Mapping[str, str]) -> None:
    """Set why each of these queued jobs waits."""
    if not reasons:
        return
    with database.transaction() as connection:
        for job_id, status in reasons.items():
            connection.execute(
                update(Job)
                .where(Job.id == job_id, Job.state == JobState.QUEUED.value)
                .values(status=status, reason="WAITING_FOR_ROOM", updated_at=func.now())
            )


_ROOM = (
    select(
        Node.id,
        Node.name,
        Node.slots,
        # Below zero where its slots were made fewer than the ranks that run: that is no other node's debt.
        func.greatest(
            0,
            Node.slots
            - select(func.count())
            .select_from(Rank)
            .where(Rank.node_id == Node.id, Rank.released_at.is_(None))
            .correlate(Node)
            .scalar_subquery(),
        ),
    )
    .where(Node.pool_id == bindparam("pool"), Node.state == "READY", Node.deleted_at.is_(None))
    .order_by(Node.id)
)


def _room(connection: Connection, pool_row: int) -> list[NodeRoom]:
    rows = connection.execute(_ROOM, {"pool": pool_row})
    return [NodeRoom(row[0], row[1], row[2], row[3]) for row in rows]


def _reserve(connection: Connection, pool_row: int, placement: Placement, network_range: IPv4Network) -> bool:
    """Take one placement's room and addresses; False where its job moved on or no address block is free."""
    subnet = None
    if len(placement.nodes) > 1:
        taken = [IPv4Network(cidr) for cidr in connection.execute(select(GangNetwork.subnet)).scalars()]
        try:
            subnet = first_free_block(network_range, hosts=len(placement.nodes), taken=taken)
        except ResourceExhausted as error:
            log.warning("gang_put_off", job=placement.job_id, why=str(error))
            return False
    if not job_moves.move_job(
        connection,
        placement.job_id,
        placement.attempt,
        JobState.PENDING,
        sources=frozenset({JobState.QUEUED}),
        status="room is reserved; preparing containers",
    ):
        return False
    if not rank_moves.place_ranks(connection, placement.job_id, placement.attempt, placement.nodes):
        raise RuntimeError(f"job {placement.job_id} is QUEUED with ranks that are not WAITING")
    if subnet is not None:
        connection.execute(
            insert(GangNetwork).values(
                job_id=placement.job_id, attempt=placement.attempt, pool_id=pool_row, subnet=str(subnet)
            )
        )
    return True
