"""CREATED → RUNNING, behind the start barrier: no rank of a gang is started before all have their containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from core.database import Database
from core.jobs import job_moves, rank_moves
from core.jobs.stopping import LockedJob, Settled, StopOrder, lock_job, policy_of, running_status, settle
from core.models import Job, Node, Rank
from core.policies import RankFailurePolicy
from core.states import JobState, RankState

_STARTED = frozenset({RankState.RUNNING, RankState.SUCCEEDED, RankState.FAILED, RankState.LOST})


@dataclass(frozen=True)
class StartWork:
    """Containers, by rank, that this step holds and is to start, and nodes that can now start theirs."""

    containers: Mapping[int, str] = field(default_factory=dict)
    #: those whose start was claimed before by a step that did not report
    retaken: frozenset[int] = frozenset()
    others: tuple[StopOrder, ...] = ()
    account: str = ""
    #: variable → id of the account's secret whose value it gets just before the start
    secret_env_vars: Mapping[str, str] = field(default_factory=dict)
    #: the job came with files, which go into each container just before its start
    has_files: bool = False


def claim_start(database: Database, job_id: str, attempt: int, node_id: int, lease_seconds: float) -> StartWork:
    """Take the node's created containers for their start, if the whole gang has been created."""
    with database.transaction() as connection:
        job = lock_job(connection, job_id)
        if job.attempt != attempt or job.stop_requested_at is not None:
            return StartWork()
        work = claim_start_locked(connection, job_id, attempt, node_id, lease_seconds, ring_others=False)
        if not work.containers:
            return work
        row = connection.execute(_CONTENTS, {"job": job_id}).one()
        named = row.secret_env_vars or {}
        return replace(work, account=row.account_id, secret_env_vars=named, has_files=bool(row.files))


#: A specification that was stored before there were secrets, or files, has none.
_CONTENTS = select(
    Job.account_id,
    Job.spec["secret_env_vars"].label("secret_env_vars"),
    Job.spec["files"].label("files"),
).where(Job.id == bindparam("job"))
_GANG = (
    select(Rank.rank, Rank.state, Rank.started_at, Rank.container_id, Rank.node_id, Node.worker_group)
    .join(Node, Node.id == Rank.node_id)
    .where(Rank.job_id == bindparam("job"), Rank.attempt == bindparam("attempt"))
)


def claim_start_locked(
    connection: Connection,
    job_id: str,
    attempt: int,
    node_id: int,
    lease_seconds: float,
    *,
    ring_others: bool,
) -> StartWork:
    """The start barrier: nothing is claimed before every rank of the gang has its container."""
    rows = connection.execute(_GANG, {"job": job_id, "attempt": attempt}).all()
    before = (RankState.WAITING, RankState.PLACED, RankState.CREATING)
    if any(row.state in before for row in rows):
        return StartWork()
    claimed = rank_moves.move_ranks(
        connection,
        job_id,
        attempt,
        RankState.STARTING,
        node_id=node_id,
        unheld_unless=RankState.CREATED,
        lease_seconds=lease_seconds,
    )
    containers = {row.rank: row.container_id for row in rows if row.rank in set(claimed)}
    others = {StopOrder(row.worker_group, job_id, attempt, row.node_id) for row in rows if row.node_id != node_id}
    retaken = frozenset(row.rank for row in rows if row.state == RankState.STARTING)
    return StartWork(containers, retaken, tuple(others) if ring_others else ())


def record_started(
    database: Database, job_id: str, attempt: int, started_at: Mapping[int, datetime]
) -> Settled | None:
    """STARTING → RUNNING; when every rank of the gang has been started, the job is RUNNING.

    What follows where that lets an end be judged which came before: rank 0's, of a job that it decides.
    """
    with database.transaction() as connection:
        job = lock_job(connection, job_id)
        if job.attempt != attempt:
            return None
        rank_moves.record_starts(connection, job_id, attempt, started_at)
        if run_if_all_started(connection, job) and policy_of(job) is RankFailurePolicy.MAIN_RANK_DECIDES:
            return settle(connection, lock_job(connection, job_id))
    return None


def run_if_all_started(connection: Connection, job: LockedJob) -> bool:
    """PENDING → RUNNING for a locked job, when every rank has been started and none was stopped before."""
    job_id, attempt = job.id, job.attempt
    if job.state != JobState.PENDING.value or job.stop_requested_at is not None:
        return False
    states = connection.execute(_GANG, {"job": job_id, "attempt": attempt}).all()
    if all(row.state in _STARTED and row.started_at is not None for row in states):
        status = running_status(job.num_ranks)
        return job_moves.move_job(connection, job_id, attempt, JobState.RUNNING, status=status)
    return False
