"""A job whose rank has filled the disk of its node is ended, before all others there fail for want of room."""

from __future__ import annotations

from core.database import Database
from core.errors import Superseded
from core.jobs.retrying import DISK_EXCEEDED
from core.jobs.stopping import Settled, lock_job, stop_locked
from core.states import JobState


def evict(database: Database, job_id: str, attempt: int, *, status: str) -> Settled | None:
    """Stop a running attempt, which then fails with DISK_EXCEEDED; what is to be rung for.

    None where there is nothing to stop any more: another attempt runs, or the job is ending already.
    """
    with database.transaction() as connection:
        try:
            job = lock_job(connection, job_id)
        except Superseded:
            return None
        is_running = job.state == JobState.RUNNING.value and job.stop_requested_at is None
        if not is_running or job.attempt != attempt:
            return None
        return stop_locked(connection, job, reason=DISK_EXCEEDED, status=status)
