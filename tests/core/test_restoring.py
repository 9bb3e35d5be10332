"""Rows of a backup, brought to now: what may have run since is never run again, what is seen to go on goes on."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from core.database import Database
from core.errors import FailedPrecondition, OutputRemoved
from core.jobs import ending, launching, stopping
from core.jobs.restoring import count_jobs, fence_jobs, forget_holders, forget_missing_objects
from core.jobs.retrying import RESTORED
from core.nodes import take_lease
from core.policies import RetryPolicy
from tests.core.attempts_lab import RowsOnly
from tests.core.packing_lab import PackingLab

_MADE_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
_OFTEN = RetryPolicy(max_attempts=5)


@pytest.fixture
def rows(database: Database) -> RowsOnly:
    return RowsOnly(database)


def _lose(rows: RowsOnly, job_id: str, rank: int) -> None:
    """A supervisor has listed its node, and its container is not there."""
    attempt = rows.job(job_id).attempt
    ending.record_lost(rows.database, job_id, attempt, rank, reason="CONTAINER_VANISHED", message="is gone")


def test_jobs_that_waited_when_the_backup_was_made_are_ended_and_say_why(rows: RowsOnly) -> None:
    queued, placed, created = (rows.submit(2, retry_policy=_OFTEN) for _ in range(3))
    rows.place(placed)
    rows.create(created)
    again = rows.run(1, retry_policy=_OFTEN)
    rows.exit(again, 0, 1)
    rows.release(again, 0)
    assert (rows.job(again).state, rows.job(again).attempt) == ("QUEUED", 2)
    assert count_jobs(rows.database) >= 4
    fenced = fence_jobs(rows.database, _MADE_AT)
    assert fenced.ended >= 4
    # Of one whose ranks were being started a stop step first removes what may be there.
    assert rows.job(created).state == "PENDING"
    launching.record_failure(
        rows.database, created, 1, [0, 1], reason="STOPPED_BEFORE_START", message="stopped", released=True
    )
    for job_id in (queued, placed, created, again):
        job = rows.job(job_id)
        assert (job.state, job.reason) == ("FAILED", RESTORED), job
        assert "2026-03-04 05:06:07 UTC" in job.status
    assert rows.job(again).attempt == 2
    assert fence_jobs(rows.database, _MADE_AT).ended == 0


def test_job_that_ran_and_is_gone_is_lost_and_no_attempt_follows(rows: RowsOnly) -> None:
    job_id = rows.run(2, retry_policy=_OFTEN)
    fence_jobs(rows.database, _MADE_AT)
    assert rows.job(job_id).state == "RUNNING"
    _lose(rows, job_id, 0)
    _lose(rows, job_id, 1)
    job = rows.job(job_id)
    assert (job.state, job.reason, job.attempt) == ("FAILED", "CONTAINER_VANISHED", 1)
    assert "restored from the backup of 2026-03-04 05:06:07 UTC" in job.status


def test_job_that_is_found_again_is_tried_again_when_it_fails(rows: RowsOnly) -> None:
    job_id = rows.run(1, retry_policy=_OFTEN)
    fence_jobs(rows.database, _MADE_AT)
    rows.exit(job_id, 0, 1)
    rows.release(job_id, 0)
    assert (rows.job(job_id).state, rows.job(job_id).attempt) == ("QUEUED", 2)
    # A later attempt is none of the backup's any more.
    rows.rerun(job_id)
    _lose(rows, job_id, 0)
    assert (rows.job(job_id).state, rows.job(job_id).attempt) == ("QUEUED", 3)


def test_attempt_that_was_ending_when_the_backup_was_made_is_not_followed(rows: RowsOnly) -> None:
    job_id = rows.run(2, retry_policy=_OFTEN)
    rows.exit(job_id, 0, 1)
    fence_jobs(rows.database, _MADE_AT)
    rows.stopped(job_id, 1)
    rows.release(job_id, 0, 1)
    job = rows.job(job_id)
    assert (job.state, job.attempt) == ("FAILED", 1)
    assert "it is not started again" in job.status


def test_job_that_was_being_cancelled_is_cancelled(rows: RowsOnly) -> None:
    job_id = rows.run(1)
    stopping.cancel(rows.database, rows.account, rows.job(job_id).batch_job_id)
    fence_jobs(rows.database, _MADE_AT)
    rows.stopped(job_id, 0)
    rows.release(job_id, 0)
    assert rows.job(job_id).state == "CANCELLED"


def test_nobody_holds_anything_and_no_old_clock_decides(rows: RowsOnly) -> None:
    job_id = rows.run(1, run_timeout_seconds=60)
    one, two = rows.nodes
    assert take_lease(rows.database, one.id, "somebody", 3600)
    rows.execute("UPDATE ranks SET lease_until = now() + interval '1 day' WHERE job_id = :j", job_id)
    rows.execute("UPDATE jobs SET deadline_at = now() - interval '1 day' WHERE id = :j", job_id)
    with rows.database.transaction() as connection:
        old = {"node": two.id}
        connection.execute(
            text("UPDATE nodes SET state = 'DOWN', state_since = now() - interval '1 day' WHERE id = :node"), old
        )
    forget_holders(rows.database)
    assert take_lease(rows.database, one.id, "another", 60)
    ((lease, deadline_is_ahead),) = rows.execute(
        "SELECT r.lease_until, j.deadline_at > now() FROM jobs j JOIN ranks r ON r.job_id = j.id WHERE j.id = :j",
        job_id,
    )
    assert (lease, deadline_is_ahead) == (None, True)
    ((down_for,),) = rows.execute(
        "SELECT extract(epoch FROM now() - state_since) FROM nodes WHERE pool_id ="
        " (SELECT pool_id FROM jobs WHERE id = :j) AND state = 'DOWN'",
        job_id,
    )
    assert down_for < 60


def test_attempts_whose_objects_are_not_there_say_that_they_were_removed(lab: PackingLab) -> None:
    there, gone = lab.ended(), lab.ended()
    lab.pack()
    with pytest.raises(FailedPrecondition, match="are not in the store"):
        forget_missing_objects(lab.database, lambda path: False)
    before = lab.read(there)
    lab.store.remove(lab.paths(gone))
    assert forget_missing_objects(lab.database, lambda path: (lab.folder / path).exists()) == 1
    assert lab.read(there) == before
    with pytest.raises(OutputRemoved, match="when the backup was made"):
        lab.read(gone)
