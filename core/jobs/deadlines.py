"""The clocks of a job: how long it may be QUEUED, PENDING and RUNNING, and how long it is kept once it has ended.

One column says when the clock of the present state runs out, by the database's time; every move sets it anew.
The sweep looks for those that have: nothing waits for a clock, so nothing is lost with whoever would.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, select

from core.database import Database
from core.errors import Superseded
from core.jobs.retrying import PULL_TIMEOUT, QUEUE_TIMEOUT, RUN_TIMEOUT
from core.jobs.stopping import LockedJob, Settled, delete_locked, lock_job, stop_locked
from core.models import Job
from core.spec import JobSpec, spec_from_json
from core.states import JOB_ENDED, JobState

#: How many one sweep deals with; the next is seconds away.
_AT_ONCE = 500

_OVERDUE = select(Job.id).where(Job.deadline_at <= func.now()).order_by(Job.deadline_at).limit(_AT_ONCE)
_AGAIN = select(Job.spec, Job.status).where(Job.id == bindparam("job"), Job.deadline_at <= func.now())


def enforce_deadlines(database: Database) -> list[Settled]:
    """Stop, fail or delete every job whose clock has run out; what is to be rung for.

    Each in a transaction of its own, with its row locked: two sweeps at a time do it once.
    """
    with database.transaction() as connection:
        overdue = list(connection.execute(_OVERDUE).scalars())
    done: list[Settled] = []
    for job_id in overdue:
        try:
            with database.transaction() as connection:
                settled = _enforce(connection, lock_job(connection, job_id))
        except Superseded:
            continue
        if settled is not None:
            done.append(settled)
    return done


def _enforce(connection: Connection, job: LockedJob) -> Settled | None:
    """None where another sweep, or a move, came before the lock was had."""
    found = connection.execute(_AGAIN, {"job": job.id}).first()
    if found is None:
        return None
    state = JobState(job.state)
    if state in JOB_ENDED:
        return delete_locked(connection, job)
    reason, status = _sentence(state, spec_from_json(found.spec), found.status)
    return stop_locked(connection, job, reason=reason, status=status)


def _sentence(state: JobState, spec: JobSpec, waited_for: str) -> tuple[str, str]:
    """The reason and the status of a job whose state has lasted too long."""
    match state:
        case JobState.QUEUED:
            allowed = _seconds(spec.queue_timeout_seconds)
            return QUEUE_TIMEOUT, f"not placed within {allowed} (timeouts.queue): {waited_for}"
        case JobState.PENDING:
            allowed = _seconds(spec.pull_timeout_seconds)
            return PULL_TIMEOUT, f"not running within {allowed} of being placed (timeouts.pull): {waited_for}"
        case _:
            return RUN_TIMEOUT, f"stopped after running for {_seconds(spec.run_timeout_seconds)} (timeouts.run)"


def _seconds(allowed: float | None) -> str:
    return f"{allowed or 0:g} s"
