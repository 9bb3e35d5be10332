"""PLACED → CREATED: each step of a launch claims its ranks under a lease before it touches an engine.

A step that dies leaves a claim that runs out; the next one finds the containers by their names and adopts
them. A claim that was taken over, or a job that is being stopped, makes every later verb a no-op.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row, and_, bindparam, func, select, text, update

from core.database import Database
from core.errors import OtherImageFixed, Superseded
from core.jobs import rank_moves
from core.jobs.gang_networks import BRIDGE, HOST
from core.jobs.starting import StartWork, claim_start_locked
from core.jobs.stopping import Settled, lock_job, settle
from core.models import GangNetwork, Job, Node, NodePool, Rank, Secret
from core.spec import JobSpec, spec_from_json
from core.states import JobState, RankState


@dataclass(frozen=True)
class RankLimits:
    """What one container may use: CPUs, bytes of memory and of shared memory, processes and threads."""

    cpu_count: float
    memory_bytes: int
    pids: int
    #: of /dev/shm; None = the engine's default
    shm_bytes: int | None = None


@dataclass(frozen=True)
class LaunchWork:
    """What a launch step needs to know; `node_of_rank` has every rank of the gang, `ranks` only its own."""

    job_id: str
    attempt: int
    node_id: int
    endpoint: str
    account: str
    batch_job_id: str
    spec: JobSpec
    image_digest: str
    ranks: tuple[int, ...]
    node_of_rank: tuple[int, ...]
    #: of the gang's network; None = it is of one rank, or on its hosts' own network
    subnet: IPv4Network | None
    limits: RankLimits
    #: of the gang's network (`gang_networks`), and whether an overlay is there already
    driver: str = BRIDGE
    network_is_ready: bool = False
    #: by rank, how its host is reached from the others; names are possible. Only with the driver `host`.
    address_of_rank: tuple[str, ...] = ()
    #: row of the secret that its image needs, 0 where it names none, None where that secret was removed
    pull_secret: int | None = 0
    #: by rank of `ranks`, the GPU of the node that is reserved for it; in a pool without GPUs there are none
    gpu_of_rank: Mapping[int, int] = field(default_factory=dict)


def claim_launch(
    database: Database, job_id: str, attempt: int, node_id: int, lease_seconds: float
) -> LaunchWork | None:
    """Take the attempt's ranks on a node for creation; None where there is nothing to take.

    Ranks whose earlier claim ran out are taken over.
    """
    with database.transaction() as connection:
        ranks = rank_moves.move_ranks(
            connection,
            job_id,
            attempt,
            RankState.CREATING,
            node_id=node_id,
            unheld_unless=RankState.PLACED,
            if_job_pending=True,
            lease_seconds=lease_seconds,
        )
        return _launch_work(connection, job_id, attempt, node_id, ranks) if ranks else None


_GPUS = (
    select(func.jsonb_object_agg(Rank.rank, Rank.gpu))
    .where(
        Rank.job_id == bindparam("job"),
        Rank.attempt == bindparam("attempt"),
        Rank.node_id == bindparam("node"),
        Rank.gpu.is_not(None),
    )
    .scalar_subquery()
)
_WORK = (
    select(
        Job.account_id,
        Job.batch_job_id,
        Job.spec,
        Job.image_digest,
        Node.endpoint,
        Node.slots,
        Node.memory_bytes,
        NodePool.cpu_limit,
        NodePool.memory_limit_bytes,
        NodePool.pids_limit,
        NodePool.shm_bytes,
        GangNetwork.subnet,
        GangNetwork.driver,
        GangNetwork.is_ready,
        Secret.id.label("pull_secret"),
        _GPUS.label("gpus"),
    )
    .join(NodePool, NodePool.id == Job.pool_id)
    .join(Node, Node.id == bindparam("node"))
    .outerjoin(GangNetwork, and_(GangNetwork.job_id == Job.id, GangNetwork.attempt == bindparam("attempt")))
    .outerjoin(Secret, and_(Secret.account_id == Job.account_id, Secret.secret_id == Job.image_pull_secret))
    .where(Job.id == bindparam("job"))
)


def _launch_work(
    connection: Connection, job_id: str, attempt: int, node_id: int, ranks: Sequence[int]
) -> LaunchWork:
    row = connection.execute(_WORK, {"job": job_id, "attempt": attempt, "node": node_id}).one()
    spec = spec_from_json(row.spec)
    hosts: list[Row[Any]] = []
    if spec.num_ranks > 1:
        hosts = list(connection.execute(_HOSTS, {"job": job_id, "attempt": attempt}))
        node_of_rank = tuple(int(host.node_id or 0) for host in hosts)
    else:
        node_of_rank = (node_id,)
    return LaunchWork(
        job_id=job_id,
        attempt=attempt,
        node_id=node_id,
        endpoint=row.endpoint,
        account=row.account_id,
        batch_job_id=row.batch_job_id,
        spec=spec,
        image_digest=row.image_digest,
        ranks=tuple(ranks),
        node_of_rank=node_of_rank,
        subnet=IPv4Network(row.subnet) if row.subnet else None,
        limits=_limits(spec, row),
        driver=row.driver or BRIDGE,
        network_is_ready=bool(row.is_ready),
        address_of_rank=tuple(_address(host) for host in hosts) if row.driver == HOST else (),
        pull_secret=row.pull_secret if spec.image_pull_secret else 0,
        gpu_of_rank={int(rank): gpu for rank, gpu in (row.gpus or {}).items()},
    )


_HOSTS = (
    select(Rank.node_id, Node.address, Node.endpoint)
    .outerjoin(Node, Node.id == Rank.node_id)
    .where(Rank.job_id == bindparam("job"), Rank.attempt == bindparam("attempt"))
    .order_by(Rank.rank)
)


def _address(host: Row[Any]) -> str:
    """How a rank's host is reached from others: as it was said, else as its endpoint says; "" = not known."""
    return host.address or urlsplit(host.endpoint or "").hostname or ""


def _limits(spec: JobSpec, row: Row[Any]) -> RankLimits:
    """What the job asks for; where it does not say, what the pool gives each rank."""
    memory = spec.memory_bytes or row.memory_limit_bytes or row.memory_bytes * 9 // 10 // row.slots
    return RankLimits(
        row.cpu_limit if spec.cpu_milli is None else spec.cpu_milli / 1000,
        memory,
        row.pids_limit,
        row.shm_bytes if spec.shm_bytes is None else spec.shm_bytes,
    )


def give_back(database: Database, job_id: str, attempt: int, ranks: Sequence[int], *, message: str) -> None:
    """CREATING → PLACED: the step cannot go on now; those of a job that is being stopped end instead."""
    with database.transaction() as connection:
        job = lock_job(connection, job_id)
        rank_moves.move_ranks(
            connection,
            job_id,
            attempt,
            RankState.PLACED,
            ranks=ranks,
            sources=frozenset({RankState.CREATING}),
            message=message,
        )
        if job.stop_requested_at is not None and job.attempt == attempt:
            rank_moves.move_ranks(
                connection,
                job_id,
                attempt,
                RankState.STOPPED,
                ranks=ranks,
                sources=frozenset({RankState.PLACED}),
                reason="STOPPED_BEFORE_START",
                message="stopped by the platform before it was started",
                released=True,
            )
            settle(connection, job)


#: Once: every rank and attempt of a job runs what its first one did.
_FIX_IMAGE = text("UPDATE jobs SET image_digest = :digest WHERE id = :job")


def record_created(
    database: Database,
    job_id: str,
    attempt: int,
    node_id: int,
    containers: Mapping[int, str],
    digest: str,
    lease_seconds: float,
) -> StartWork:
    """CREATING → CREATED; when that was the gang's last, also claim this node's ranks for their start.

    Raises Superseded where the job is being stopped or the claim was lost, and OtherImageFixed where the job runs
    another image than `digest`, as a node said first: the containers are then the caller's to remove.
    """
    with database.transaction() as connection:
        job = lock_job(connection, job_id)
        if job.attempt != attempt or job.stop_requested_at is not None:
            raise Superseded(f"job {job_id} is being stopped")
        if not rank_moves.record_containers(connection, job_id, attempt, containers):
            raise Superseded(f"another step holds job {job_id} on node {node_id}")
        if not job.image_digest:
            connection.execute(_FIX_IMAGE, {"job": job_id, "digest": digest})
        elif job.image_digest != digest:
            raise OtherImageFixed(f"job {job_id} runs {job.image_digest}, and not {digest}")
        return claim_start_locked(connection, job_id, attempt, node_id, lease_seconds, ring_others=True)


def record_failure(
    database: Database,
    job_id: str,
    attempt: int,
    ranks: Sequence[int],
    *,
    reason: str,
    message: str,
    released: bool,
    exit_code: int | None = None,
) -> Settled:
    """A rank could not be created or started: it is FAILED, its job is judged.

    `released` says that no container of it is left. Ranks that this job's stop has overtaken are STOPPED.
    """
    with database.transaction() as connection:
        job = lock_job(connection, job_id)
        if job.attempt != attempt:
            raise Superseded(f"attempt {attempt} of job {job_id} is over")
        stopped = job.stop_requested_at is not None
        rank_moves.move_ranks(
            connection,
            job_id,
            attempt,
            RankState.STOPPED if stopped else RankState.FAILED,
            ranks=ranks,
            sources=frozenset({RankState.PLACED, RankState.CREATING, RankState.CREATED, RankState.STARTING}),
            reason="STOPPED_BEFORE_START" if stopped else reason,
            message=message,
            columns={"exit_code": exit_code},
            released=released,
        )
        return settle(connection, job)


def still_held(database: Database, job_id: str, attempt: int, ranks: Sequence[int]) -> list[int]:
    """Which of these ranks are still CREATING, so that their containers are this step's to remove."""
    with database.transaction() as connection:
        rows = connection.execute(
            select(Rank.rank).where(
                Rank.job_id == job_id,
                Rank.attempt == attempt,
                Rank.rank.in_(list(ranks)),
                Rank.state == RankState.CREATING.value,
            )
        )
        return sorted(rows.scalars())


def write_progress(
    database: Database, job_ids: Sequence[str], status: str, reason: str, *, at_first: bool = False
) -> None:
    """What PENDING jobs are waiting for now, for people (`pulling python:3.12: 41 %`).

    `at_first`: only where nothing has been said of that yet.
    """
    with database.transaction() as connection:
        connection.execute(
            update(Job)
            .where(
                Job.id.in_(list(job_ids)),
                Job.state == JobState.PENDING.value,
                Job.stop_requested_at.is_(None),
                *((Job.reason == "",) if at_first else ()),
            )
            .values(status=status, reason=reason, updated_at=func.now())
        )
