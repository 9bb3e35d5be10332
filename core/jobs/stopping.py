"""Cancellation, deletion and failure meet here: what must be stopped, and when a job is over.

`settle` is the one place that turns ranks' ends into a job's; every verb that ends a rank calls it in its
own transaction, with the job's row locked, so that the last two ranks cannot both think the other is last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, text, update

from core.database import Database
from core.errors import FailedPrecondition, Superseded
from core.failpoints import Point, failpoint
from core.jobs import job_moves, rank_moves
from core.jobs.reading import not_found
from core.jobs.retrying import OVERRUN_REASONS, RESTORED, AttemptCount, final_status, next_attempt
from core.jobs.verdict import Overrun, RankOutcome, Verdict, judge
from core.models import Job, Node, Rank
from core.policies import RankFailurePolicy, retry_policy_from_json
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
        return [delete_locked(connection, job) for job in jobs]


def stop_locked(connection: Connection, job: LockedJob, *, reason: str, status: str) -> Settled:
    """Stop a locked job's attempt, for a reason that its verdict will name."""
    job_moves.mark_stopping(connection, job.id, job.attempt, reason=reason, status=status)
    return _end_what_never_started(connection, lock_job(connection, job.id))


def delete_locked(connection: Connection, job: LockedJob) -> Settled:
    """Stop a locked job and have it gone once its containers are."""
    if job.state != JobState.DELETING.value:
        job_moves.move_job(
            connection, job.id, job.attempt, JobState.DELETING, reason="DELETED", status="being deleted"
        )
    job_moves.mark_stopping(connection, job.id, job.attempt, reason="DELETED", status="being deleted")
    return _end_what_never_started(connection, lock_job(connection, job.id))


_LOCK = (
    select(
        Job.id,
        Job.pool_id,
        Job.state,
        Job.attempt,
        Job.num_ranks,
        Job.image_digest,
        Job.stop_requested_at,
        Job.reason,
        Job.status,
        Job.uncharged_attempts,
        Job.spec["rank_failure_policy"].as_string().label("rank_failure_policy"),
        Job.spec["retry_policy"].label("retry_policy"),
    )
    .where(Job.id == bindparam("job"))
    # FOR NO KEY UPDATE: an event of a rank that another step has locked refers to the job, and must not wait for
    # whoever is about to wait for that rank.
    .with_for_update(key_share=True)
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
    verdict = judge(outcomes, policy_of(job), _overrun(job))
    if verdict.stop and job.stop_requested_at is None:
        job_moves.mark_stopping(connection, job.id, job.attempt, reason=verdict.reason, status=verdict.status)
        return _end_what_never_started(connection, lock_job(connection, job.id))
    if not all(outcome.state in RANK_ENDED for outcome in outcomes):
        return Settled(job.pool_id)
    state = JobState(job.state)
    if state is JobState.CANCELLING:
        job_moves.move_job(
            connection, job.id, job.attempt, JobState.CANCELLED, reason="CANCELLED", status="cancelled"
        )
    elif state is JobState.DELETING:
        _purge_if_released(connection, job)
    elif state not in JOB_ENDED:
        return _end_attempt(connection, job, verdict)
    return Settled(job.pool_id, ended=True)


def policy_of(job: LockedJob) -> RankFailurePolicy:
    """What a failed rank does to the others. A specification stored before there were policies has none."""
    return RankFailurePolicy(job.rank_failure_policy or RankFailurePolicy.FAIL_ALL)


def _overrun(job: LockedJob) -> Overrun | None:
    """The clock for which the job is being stopped, if it is for one."""
    if job.stop_requested_at is None or job.reason not in OVERRUN_REASONS:
        return None
    return Overrun(job.reason, job.status)


def _end_attempt(connection: Connection, job: LockedJob, verdict: Verdict) -> Settled:
    """Every rank has ended: so does the job, or its next attempt begins once no container of this one is left."""
    count = AttemptCount(job.attempt, job.uncharged_attempts)
    retry_policy = retry_policy_from_json(job.retry_policy)
    following = next_attempt(verdict, JobState(job.state), count, retry_policy, policy_of(job))
    if verdict.end is JobState.FAILED and (why := _restored_into_the_unknown(connection, job)):
        following, verdict = None, replace(verdict, status=f"{verdict.status}; {why}")
    if following is None:
        if verdict.end is not None:
            status = final_status(verdict, count)
            job_moves.move_job(connection, job.id, job.attempt, verdict.end, reason=verdict.reason, status=status)
        return Settled(job.pool_id, ended=True)
    if _holds_slots(connection, job.id):
        # Noted, so that whoever frees the last slot asks again; a job that is cancelled before ends instead.
        job_moves.mark_stopping(
            connection, job.id, job.attempt, reason=verdict.reason, status=f"{verdict.status}; will start again"
        )
        return Settled(job.pool_id)
    if job_moves.requeue_job(
        connection,
        job.id,
        job.attempt,
        reason=verdict.reason,
        status=following.status,
        delay_seconds=following.delay_seconds,
        charged=following.is_charged,
        avoid_node=following.avoid_node,
    ):
        rank_moves.insert_ranks(connection, job.id, job.attempt + 1, job.num_ranks)
    return Settled(job.pool_id, ended=True, slots_freed=True)


#: Whether the rows are of a backup that was made during this attempt, and the attempt's end was not seen since:
#: ranks are lost, or it was being stopped at the backup's time already.
_UNKNOWN = text(
    "SELECT e.message FROM job_events e WHERE e.job_id = :job AND e.rank IS NULL AND e.attempt = :attempt"
    " AND e.reason = :restored AND (e.at >= CAST(:stopped_at AS timestamptz) OR EXISTS (SELECT 1 FROM ranks r"
    " WHERE r.job_id = :job AND r.attempt = :attempt AND r.state = 'LOST')) ORDER BY e.id DESC LIMIT 1"
)


def _restored_into_the_unknown(connection: Connection, job: LockedJob) -> str:
    """Why no attempt follows this one, which may have ended otherwise, or been followed, after the backup was made
    that the rows are of; empty where that is not so."""
    asked = {"job": job.id, "attempt": job.attempt, "restored": RESTORED, "stopped_at": job.stop_requested_at}
    told = connection.execute(_UNKNOWN, asked).scalar()
    return f"{told}, and what came after is not known, so it is not started again" if told else ""


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
        failpoint(Point.SLOT_RELEASING, job_id)
        settled = Settled(job.pool_id)
        if job.state == JobState.DELETING.value:
            _purge_if_released(connection, job)
        elif job.attempt == attempt and job.stop_requested_at is not None:
            settled = settle(connection, job)
        # Nobody waiting means nothing to ring for: most slots of an idle pool are freed so.
        awaited = connection.execute(_AWAITED, {"pool": job.pool_id}).scalar_one()
    failpoint(Point.SLOT_FREED, job_id)
    return replace(settled, slots_freed=bool(awaited))


_OUTCOMES = (
    select(
        Rank.rank,
        Rank.state,
        Node.name,
        Rank.exit_code,
        Rank.signal,
        Rank.oom_killed,
        Rank.reason,
        Rank.message,
        Rank.started_at,
        Rank.ended_at,
        Rank.node_id,
        Rank.recorded_at,
        Rank.last_lines,
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
    return Settled(settled.pool_row, stops, settled.ended, bool(moved) or settled.slots_freed)


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
    if not _holds_slots(connection, job.id):
        job_moves.purge_job(connection, job.id)


_HOLDS = text(
    "SELECT EXISTS (SELECT 1 FROM ranks WHERE job_id = :job AND node_id IS NOT NULL AND released_at IS NULL)"
)


def _holds_slots(connection: Connection, job_id: str) -> bool:
    """Whether a container of any attempt may be left."""
    return bool(connection.execute(_HOLDS, {"job": job_id}).scalar_one())
