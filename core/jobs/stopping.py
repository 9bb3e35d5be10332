"""Cancellation, deletion and failure meet here: what must be stopped, and when a job is over.

`settle` is the one place that turns ranks' ends into a job's; every verb that ends a rank calls it in its
own transaction, with the job's row locked, so that the last two ranks cannot both think the other is last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, text, update

from core.database import Database
from core.errors import FailedPrecondition, Superseded
from core.jobs import job_moves, rank_moves
from core.jobs.reading import not_found
from core.jobs.verdict import RankOutcome, judge
from core.models import Job, Node, Rank
from core.states import JOB_ENDED, RANK_ENDED, JobState, RankState

_STOPPING = "stopping its ranks"
#: Ranks that no step holds and that never ran: they end at once, without asking an engine.
_NEVER_STARTED = frozenset({RankState.WAITING, RankState.PLACED, RankState.CREATED})


#: A job's row, locked by the transaction that read it.
LockedJob = Row[*tuple[Any, ...]]


@dataclass(frozen=True)
class StopOrder:
    """Ranks of this attempt on this node are to be stopped or their containers removed."""

    worker_group: str
    job_id: str
    attempt: int
    node_id: int


@dataclass(frozen=True)
class Settled:
    """What follows from a rank's end: steps to ring for, and whether the job is over."""

    pool_row: int
    stops: tuple[StopOrder, ...] = ()
    ended: bool = False
    slots_freed: bool = False


def cancel(database: Database, account: str, job_id: str) -> Settled:
    """Cancel a job; again is no error.

    Raises NotFound, or FailedPrecondition where the job has ended otherwise.
    """
    with database.transaction() as connection:
        job = _locked_job_of(connection, account, job_id)
        state = JobState(job.state)
        if state in (JobState.CANCELLED, JobState.CANCELLING):
            return Settled(job.pool_id)
        if state in (JobState.COMPLETED, JobState.FAILED, JobState.DELETING):
            raise FailedPrecondition(f"the job is {state.value}; only a job that has not ended can be cancelled")
        if state in (JobState.PENDING, JobState.RUNNING):
            job_moves.move_job(
                connection,
                job.id,
                job.attempt,
                JobState.CANCELLING,
                reason="CANCELLED",
                status="stopping its ranks",
            )
        job_moves.mark_stopping(connection, job.id, job.attempt, reason="CANCELLED", status="stopping its ranks")
        return _end_what_never_started(connection, lock_job(connection, job.id))


def delete(database: Database, account: str, job_id: str) -> Settled:
    """Delete a job; a live one is cancelled first, shows DELETING, and goes when its ranks have.

    Raises NotFound.
    """
    return delete_all(database, account, [job_id])[0]


def delete_all(database: Database, account: str, job_ids: Sequence[str]) -> list[Settled]:
    """`delete` of several jobs: all of them, or none where one is not there. Raises NotFound."""
    with database.transaction() as connection:
        # In the order of their ids, so that two calls that share jobs do not wait for each other in a ring.
        jobs = [_locked_job_of(connection, account, job_id) for job_id in sorted(job_ids)]
        return [_delete(connection, job) for job in jobs]


def _delete(connection: Connection, job: LockedJob) -> Settled:
    if job.state != JobState.DELETING.value:
        job_moves.move_job(
            connection, job.id, job.attempt, JobState.DELETING, reason="DELETED", status="being deleted"
        )
    job_moves.mark_stopping(connection, job.id, job.attempt, reason="DELETED", status="being deleted")
    return _end_what_never_started(connection, lock_job(connection, job.id))


_LOCK = (
    select(Job.id, Job.pool_id, Job.state, Job.attempt, Job.num_ranks, Job.stop_requested_at)
    .where(Job.id == bindparam("job"))
    .with_for_update()
)


def lock_job(connection: Connection, job_id: str) -> LockedJob:
    """The job's row, locked until the transaction ends. Raises Superseded where it is gone."""
    row = connection.execute(_LOCK, {"job": job_id}).first()
    if row is None:
        raise Superseded(f"job {job_id} is gone")
    return row


def settle(connection: Connection, job: LockedJob) -> Settled:
    """Judge a locked job after one of its ranks has ended, and move it where the verdict says."""
    outcomes = read_outcomes(connection, job.id, job.attempt)
    verdict = judge(outcomes)
    if verdict.stop and job.stop_requested_at is None:
        job_moves.mark_stopping(connection, job.id, job.attempt, reason=verdict.reason, status=verdict.status)
        return _end_what_never_started(connection, lock_job(connection, job.id))
    ended = all(outcome.state in RANK_ENDED for outcome in outcomes)
    if not ended:
        return Settled(job.pool_id)
    state = JobState(job.state)
    if state is JobState.CANCELLING:
        job_moves.move_job(
            connection, job.id, job.attempt, JobState.CANCELLED, reason="CANCELLED", status="cancelled"
        )
    elif state is JobState.DELETING:
        _purge_if_released(connection, job)
    elif state not in JOB_ENDED and verdict.end is not None:
        job_moves.move_job(
            connection, job.id, job.attempt, verdict.end, reason=verdict.reason, status=verdict.status
        )
    return Settled(job.pool_id, ended=True)


_AWAITED = text("SELECT EXISTS (SELECT 1 FROM jobs WHERE pool_id = :pool AND state = 'QUEUED')")


def release(database: Database, job_id: str, attempt: int, ranks: Sequence[int]) -> Settled | None:
    """Free the slots of ended ranks whose containers are gone. None where nothing was left to free.

    `slots_freed` says that somebody waits for them.
    """
    with database.transaction() as connection:
        try:
            job = lock_job(connection, job_id)
        except Superseded:
            return None
        if not rank_moves.release_ranks(connection, job_id, attempt, ranks):
            return None
        if job.state == JobState.DELETING.value:
            _purge_if_released(connection, job)
        # Nobody waiting means nothing to ring for: most slots of an idle pool are freed so.
        awaited = connection.execute(_AWAITED, {"pool": job.pool_id}).scalar_one()
    return Settled(job.pool_id, slots_freed=bool(awaited))


_OUTCOMES = (
    select(
        Rank.rank,
        Rank.state,
        Node.name,
        Rank.exit_code,
        Rank.oom_killed,
        Rank.reason,
        Rank.message,
        Rank.started_at,
        Rank.ended_at,
    )
    .outerjoin(Node, Node.id == Rank.node_id)
    .where(Rank.job_id == bindparam("job"), Rank.attempt == bindparam("attempt"))
    .order_by(Rank.rank)
)


def read_outcomes(connection: Connection, job_id: str, attempt: int) -> list[RankOutcome]:
    """The attempt's ranks as the verdict sees them, in rank order."""
    rows = connection.execute(_OUTCOMES, {"job": job_id, "attempt": attempt})
    return [RankOutcome(row[0], RankState(row[1]), row[2] or "", *row[3:]) for row in rows]


def running_status(num_ranks: int) -> str:
    """The status of a job whose ranks have all been started."""
    return "running" if num_ranks == 1 else f"all {num_ranks} ranks are running"


def _end_what_never_started(connection: Connection, job: LockedJob) -> Settled:
    """End the ranks that need no engine; order the nodes of the others to stop them."""
    moved = rank_moves.move_ranks(
        connection,
        job.id,
        job.attempt,
        RankState.STOPPED,
        sources=_NEVER_STARTED,
        reason="STOPPED_BEFORE_START",
        message="stopped by the platform before it was started",
    )
    if moved:
        connection.execute(
            update(Rank)
            .where(
                Rank.job_id == job.id,
                Rank.attempt == job.attempt,
                Rank.rank.in_(moved),
                Rank.container_id.is_(None),
            )
            .values(released_at=func.now())
        )
    nodes = connection.execute(
        select(Node.worker_group, Node.id)
        .distinct()
        .join(Rank, Rank.node_id == Node.id)
        .where(Rank.job_id == job.id, Rank.attempt == job.attempt, Rank.released_at.is_(None))
    )
    stops = tuple(StopOrder(group, job.id, job.attempt, node_id) for group, node_id in nodes)
    settled = settle(connection, job)
    return Settled(settled.pool_row, stops, settled.ended, bool(moved))


def _locked_job_of(connection: Connection, account: str, job_id: str) -> LockedJob:
    owned = connection.execute(
        select(Job.id).where(Job.account_id == account, Job.batch_job_id == job_id)
    ).scalar()
    if owned is None:
        raise not_found(account, job_id)
    try:
        return lock_job(connection, owned)
    except Superseded:
        raise not_found(account, job_id) from None


def _purge_if_released(connection: Connection, job: LockedJob) -> None:
    holding = connection.execute(
        select(func.count())
        .select_from(Rank)
        .where(Rank.job_id == job.id, Rank.node_id.is_not(None), Rank.released_at.is_(None))
    ).scalar_one()
    if not holding:
        job_moves.purge_job(connection, job.id)
