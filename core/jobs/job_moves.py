"""The only file that writes a job's state. Each verb is one guarded UPDATE and one event, or nothing."""

from __future__ import annotations

from datetime import datetime

import orjson
from sqlalchemy import Connection, delete, func, text, update

from core.models import Job
from core.spec import JobSpec, spec_to_json
from core.states import JOB_ENDED, JobState, sources_of_job

#: The status of a job that nothing has been decided about.
QUEUED_STATUS = "queued"


_INSERT = text(
    "WITH made AS (INSERT INTO jobs (id, account_id, batch_job_id, pool_id, created_by, display_name, shared,"
    " num_ranks, image_ref, image_pull_secret, spec, state, status)"
    " VALUES (:id, :account, :batch_job, :pool, :created_by, :display_name, :shared,"
    " :num_ranks, :image_ref, :image_pull_secret, CAST(:spec AS jsonb), 'QUEUED', :status) RETURNING id)"
    " INSERT INTO job_events (job_id, attempt, rank, state, message)"
    " SELECT id, 1, NULL, 'QUEUED', CAST(:status AS text) FROM made RETURNING at"
)


def insert_job(
    connection: Connection,
    *,
    job_id: str,
    batch_job_id: str,
    account_id: str,
    pool_row: int,
    created_by: str,
    display_name: str,
    shared: bool,
    spec: JobSpec,
) -> datetime:
    """Write a new job's row, QUEUED, with its first event; when. Its ranks are `rank_moves.insert_ranks`."""
    made_at: datetime = connection.execute(
        _INSERT,
        {
            "id": job_id,
            "account": account_id,
            "batch_job": batch_job_id,
            "pool": pool_row,
            "created_by": created_by,
            "display_name": display_name,
            "shared": shared,
            "num_ranks": spec.num_ranks,
            "image_ref": spec.image_ref,
            "image_pull_secret": spec.image_pull_secret,
            "spec": orjson.dumps(spec_to_json(spec)).decode(),
            "status": QUEUED_STATUS,
        },
    ).scalar_one()
    return made_at


#: Text, because it runs several times for every job: building it each time costs more than running it.
_MOVE = text(
    "WITH moved AS (UPDATE jobs SET state = :to, reason = :reason, status = :status, updated_at = now(),"
    " started_at = CASE WHEN :running THEN now() ELSE started_at END,"
    " ended_at = CASE WHEN :ended THEN now() ELSE ended_at END"
    " WHERE id = :job AND attempt = :attempt AND state = ANY(:allowed) RETURNING id, attempt)"
    " INSERT INTO job_events (job_id, attempt, rank, state, reason, message)"
    " SELECT id, attempt, NULL, CAST(:to AS text), CAST(:reason AS text), CAST(:status AS text) FROM moved"
    " RETURNING id"
)


def move_job(
    connection: Connection,
    job_id: str,
    attempt: int,
    to: JobState,
    *,
    reason: str = "",
    status: str,
    sources: frozenset[JobState] | None = None,
) -> bool:
    """Move a job to `to` from any state that allows it (or from `sources`); False where the guard failed.

    Start and end times are set here, once, by the database's clock.
    """
    moved = connection.execute(
        _MOVE,
        {
            "job": job_id,
            "attempt": attempt,
            "to": to.value,
            "reason": reason,
            "status": status,
            "running": to is JobState.RUNNING,
            "ended": to in JOB_ENDED,
            "allowed": [s.value for s in (sources_of_job(to) if sources is None else sources)],
        },
    )
    return moved.first() is not None


def mark_stopping(connection: Connection, job_id: str, attempt: int, *, reason: str, status: str) -> bool:
    """Note, once, that the attempt's ranks are to be stopped; False when it was noted already."""
    result = connection.execute(
        update(Job)
        .where(Job.id == job_id, Job.attempt == attempt, Job.stop_requested_at.is_(None))
        .values(stop_requested_at=func.clock_timestamp(), reason=reason, status=status, updated_at=func.now())
    )
    return result.rowcount == 1


def purge_job(connection: Connection, job_id: str) -> None:
    """Remove a job's row and, by the foreign keys, its ranks, events, logs and notebooks."""
    connection.execute(delete(Job).where(Job.id == job_id, Job.state == JobState.DELETING.value))
