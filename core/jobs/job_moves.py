"""The only file that writes a job's state. Each verb is one guarded UPDATE and one event, or nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, func, insert, literal, null, select, update

from core.models import Job, JobEvent
from core.spec import JobSpec, spec_to_json
from core.states import JOB_ENDED, JobState, sources_of_job

_QUEUED_STATUS = "queued"


def insert_job(
    connection: Connection,
    *,
    job_id: str,
    account_id: str,
    pool_row: int,
    created_by: str,
    display_name: str,
    shared: bool,
    spec: JobSpec,
) -> None:
    """Write a new job's row, QUEUED, with its first event. Its ranks are `rank_moves.insert_ranks`."""
    connection.execute(
        insert(Job).values(
            id=job_id,
            account_id=account_id,
            pool_id=pool_row,
            created_by=created_by,
            display_name=display_name,
            shared=shared,
            num_ranks=spec.num_ranks,
            image_ref=spec.image_ref,
            spec=spec_to_json(spec),
            state=JobState.QUEUED.value,
            status=_QUEUED_STATUS,
        )
    )
    connection.execute(
        insert(JobEvent).values(
            job_id=job_id, attempt=1, rank=None, state=JobState.QUEUED.value, message=_QUEUED_STATUS
        )
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
    allowed = sources_of_job(to) if sources is None else sources
    values: dict[str, Any] = {
        "state": to.value,
        "reason": reason,
        "status": status,
        "updated_at": func.now(),
    }
    if to is JobState.RUNNING:
        values["started_at"] = func.now()
    if to in JOB_ENDED:
        values["ended_at"] = func.now()
    moved = (
        update(Job)
        .where(Job.id == job_id, Job.attempt == attempt, Job.state.in_([s.value for s in allowed]))
        .values(**values)
        .returning(Job.id, Job.attempt)
        .cte("moved")
    )
    event = (
        insert(JobEvent)
        .from_select(
            ["job_id", "attempt", "rank", "state", "reason", "message"],
            select(moved.c.id, moved.c.attempt, null(), literal(to.value), literal(reason), literal(status)),
        )
        .add_cte(moved)
        .returning(JobEvent.id)
    )
    return connection.execute(event).first() is not None


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
