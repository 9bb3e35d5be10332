"""QUEUED → PENDING: the one transaction that judges what the scheduler decided. And why the others wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import structlog
from sqlalchemy import Connection, insert, select, text

from core.database import Database
from core.errors import ResourceExhausted
from core.jobs import job_moves, rank_moves
from core.jobs.gang_networks import BRIDGE, HOST, OVERLAY, driver_of
from core.jobs.pool_room import PoolRoom, read_pool_room
from core.jobs.queue_reading import take_snapshot
from core.jobs.stopping import StopOrder
from core.models import GangNetwork, NodePool
from core.placement.planning import usable_nodes
from core.placement.room import Hosts, Room
from core.placement.values import Need, Placement, Waiting, WaitingJob
from core.subnets import FreeBlocks, addresses_wanted

#: The steps of a pass, for those who make one.
__all__ = ["LaunchOrder", "Placement", "place", "take_snapshot", "write_waiting"]

log = structlog.get_logger(__name__)

#: A launch is ordered exactly as a stop is: an attempt on a node, by the group that serves it.
LaunchOrder = StopOrder

#: The advisory lock of all pools' address blocks.
_ADDRESSES = 0x10C5


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
        judge = _Judge(read_pool_room(connection, pool_row), _lock_jobs(connection, pool_row, placements))
        addresses = _Addresses(connection, pool_row, judge.pool.network, network_range)
        placed: list[Placement] = []
        for placement in placements:
            hosts = judge.hosts(placement)
            if hosts is not None and addresses.take(placement):
                judge.take(placement, hosts)
                placed.append(placement)
        if placed:
            job_moves.reserve_jobs(connection, [(each.job_id, each.attempt) for each in placed])
            rank_moves.place_ranks(connection, {(each.job_id, each.attempt): each.nodes for each in placed})
            addresses.write()
            _write_holdings(connection, judge.holdings)
    groups = judge.pool.worker_groups
    return [
        LaunchOrder(groups[node], placement.job_id, placement.attempt, node)
        for placement in placed
        for node in dict.fromkeys(placement.nodes)
    ]


@dataclass(frozen=True)
class _Holding:
    """What a rank takes of its node beyond a slot."""

    job_id: str
    attempt: int
    rank: int
    need: Need
    gpu: int | None


class _Judge:
    """Counts what is free while the pool's row is held."""

    def __init__(self, pool: PoolRoom, jobs: Mapping[str, WaitingJob]) -> None:
        self.pool = pool
        self.holdings: list[_Holding] = []
        self._jobs = jobs
        self._room = Room(pool.nodes, has_gpus=pool.has_gpus)
        self._full = Room(pool.nodes, has_gpus=pool.has_gpus, empty=True)
        self._gpus_held = {node: set(held) for node, held in pool.gpus_held.items()}

    def hosts(self, placement: Placement) -> Hosts | None:
        """The placement as room counts it, or None where it is not to be."""
        job = self._jobs.get(placement.job_id)
        wanted = Counter(placement.nodes)
        if job is None or job.num_ranks != len(placement.nodes) or not wanted.keys() <= self._room.index.keys():
            return None
        if len(wanted) > 1 and not self.pool.may_span:
            return None
        usable = usable_nodes(self._full, job, may_span=self.pool.may_span)
        hosts = [(self._room.index[node], ranks) for node, ranks in wanted.items()]
        if any(not usable >> node & 1 or self._room.capacity(node, job.need) < ranks for node, ranks in hosts):
            return None
        return hosts

    def take(self, placement: Placement, hosts: Hosts) -> None:
        """Count a placement that has been written, and note what its ranks hold beyond their slots."""
        need = self._jobs[placement.job_id].need
        self._room.take(hosts, need)
        if need == Need() and not self.pool.has_gpus:
            return
        for rank, node in enumerate(placement.nodes):
            gpu = self._next_gpu(node) if self.pool.has_gpus else None
            self.holdings.append(_Holding(placement.job_id, placement.attempt, rank, need, gpu))

    def _next_gpu(self, node: int) -> int:
        held = self._gpus_held[node]
        gpu = next(number for number in range(len(held) + 1) if number not in held)
        held.add(gpu)
        return gpu


class _Addresses:
    """The blocks of our range that gangs hold; read once, when the first gang is placed."""

    def __init__(self, connection: Connection, pool_row: int, network: str, within: IPv4Network) -> None:
        self._connection = connection
        self._pool_row = pool_row
        self._network = network
        self._within = within
        self._free: FreeBlocks | None = None
        self._rows: list[dict[str, Any]] = []

    def take(self, placement: Placement) -> bool:
        """Give a gang its block, and note on which engine its network is going to be if that is known.

        False where no block is free. A single rank needs none, nor does a gang on its hosts' own addresses.
        """
        if len(placement.nodes) == 1:
            return True
        driver = driver_of(self._network, len(set(placement.nodes)))
        block = None
        if driver != HOST:
            wanted = addresses_wanted(len(placement.nodes), shared=driver == OVERLAY)
            try:
                block = self._blocks().take(wanted)
            except ResourceExhausted as error:
                log.warning("gang_put_off", job=placement.job_id, why=str(error))
                return False
        self._rows.append(
            {
                "job_id": placement.job_id,
                "attempt": placement.attempt,
                "pool_id": self._pool_row,
                "subnet": None if block is None else str(block),
                "driver": driver,
                "nodes": sorted(set(placement.nodes)) if driver == BRIDGE else [],
            }
        )
        return True

    def write(self) -> None:
        """Write down whose the blocks are."""
        if self._rows:
            self._connection.execute(insert(GangNetwork), self._rows)

    def _blocks(self) -> FreeBlocks:
        if self._free is None:
            # Two pools are placed in at the same time, and the range is one.
            self._connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADDRESSES})
            rows = self._connection.execute(select(GangNetwork.subnet)).scalars()
            self._free = FreeBlocks(self._within, [IPv4Network(cidr) for cidr in rows if cidr is not None])
        return self._free


_JOBS = text(
    "SELECT id, attempt, num_ranks, cpu_milli, memory_bytes, node_labels, avoided_nodes FROM jobs"
    " JOIN unnest(CAST(:jobs AS text[]), CAST(:attempts AS int[])) AS wanted(job, in_attempt)"
    " ON id = wanted.job AND attempt = wanted.in_attempt"
    " WHERE pool_id = :pool AND state = 'QUEUED' ORDER BY id FOR NO KEY UPDATE OF jobs SKIP LOCKED"
)


def _lock_jobs(connection: Connection, pool_row: int, placements: Sequence[Placement]) -> dict[str, WaitingJob]:
    """Those of the placements' jobs that are still QUEUED in that attempt, and that nobody is changing now."""
    asked = {
        "jobs": [placement.job_id for placement in placements],
        "attempts": [placement.attempt for placement in placements],
        "pool": pool_row,
    }
    return {
        row.id: WaitingJob(
            row.id,
            row.attempt,
            row.num_ranks,
            0.0,
            need=Need(row.cpu_milli, row.memory_bytes),
            labels=tuple(sorted(row.node_labels.items())),
            avoided=frozenset(row.avoided_nodes),
        )
        for row in connection.execute(_JOBS, asked)
    }


_HOLD = text(
    "UPDATE ranks SET cpu_milli = held.cpu, memory_bytes = held.memory, gpu = held.gpu"
    " FROM unnest(CAST(:jobs AS text[]), CAST(:attempts AS int[]), CAST(:ranks AS int[]), CAST(:cpus AS int[]),"
    " CAST(:memories AS bigint[]), CAST(:gpus AS int[])) AS held(job, attempt, rank, cpu, memory, gpu)"
    " WHERE ranks.job_id = held.job AND ranks.attempt = held.attempt AND ranks.rank = held.rank"
)


def _write_holdings(connection: Connection, holdings: Sequence[_Holding]) -> None:
    if not holdings:
        return
    connection.execute(
        _HOLD,
        {
            "jobs": [each.job_id for each in holdings],
            "attempts": [each.attempt for each in holdings],
            "ranks": [each.rank for each in holdings],
            "cpus": [each.need.cpu_milli for each in holdings],
            "memories": [each.need.memory_bytes for each in holdings],
            "gpus": [each.gpu for each in holdings],
        },
    )


# A row that is locked is being changed by who knows better; the next pass writes again.
_WAIT = text(
    "WITH found AS MATERIALIZED (SELECT j.id, w.* FROM jobs j JOIN unnest(CAST(:jobs AS text[]),"
    " CAST(:attempts AS int[]), CAST(:reasons AS text[]), CAST(:statuses AS text[]), CAST(:positions AS int[]),"
    " CAST(:starts AS timestamptz[])) AS w(job, attempt, reason, status, position, starts_at)"
    " ON j.id = w.job AND j.attempt = w.attempt WHERE j.state = 'QUEUED' ORDER BY j.id"
    " FOR NO KEY UPDATE OF j SKIP LOCKED)"
    " UPDATE jobs SET reason = found.reason, status = found.status, queue_position = found.position,"
    " estimated_start_at = found.starts_at, updated_at = now() FROM found WHERE jobs.id = found.id"
)


def write_waiting(database: Database, waiting: Sequence[Waiting]) -> None:
    """Set why each of these queued jobs waits, in one statement."""
    if not waiting:
        return
    with database.transaction() as connection:
        connection.execute(
            _WAIT,
            {
                "jobs": [each.job_id for each in waiting],
                "attempts": [each.attempt for each in waiting],
                "reasons": [each.reason for each in waiting],
                "statuses": [each.status for each in waiting],
                "positions": [each.position for each in waiting],
                "starts": [each.starts_at for each in waiting],
            },
        )
