"""The clocks of a job, on the database's time: each in its own state, seen by a sweep, and by two as by one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.database import Database
from core.jobs import stopping
from core.jobs.deadlines import enforce_deadlines
from core.policies import Backoff, RetryAction, RetryPolicy, RetryRule
from core.states import JobState
from tests.core.attempts_lab import RowsOnly


@pytest.fixture
def rows(database: Database) -> RowsOnly:
    return RowsOnly(database)


def run_out(rows: RowsOnly, job: str) -> None:
    """The clock of the job's state has run out."""
    changed = rows.execute(
        "UPDATE jobs SET deadline_at = now() - interval '1 second' WHERE id = :j AND deadline_at IS NOT NULL"
        " RETURNING id",
        job,
    )
    assert changed, "no clock is running"


def clock(rows: RowsOnly, job: str) -> float | None:
    """Seconds that are left, to the second; None where no clock runs."""
    ((left,),) = rows.execute("SELECT round(extract(epoch FROM deadline_at - now())) FROM jobs WHERE id = :j", job)
    return None if left is None else float(left)


def test_each_state_has_its_own_clock(rows: RowsOnly) -> None:
    spec = {"queue_timeout_seconds": 100, "pull_timeout_seconds": 200, "run_timeout_seconds": 300}
    job = rows.submit(1, **spec, ttl_seconds=400)
    assert clock(rows, job) == 100
    rows.create(job)
    assert clock(rows, job) == 200
    rows.start(job)
    assert clock(rows, job) == 300
    rows.exit(job, 0, 0)
    assert clock(rows, job) == 400
    plain = rows.run(1)
    assert clock(rows, plain) is None


def test_clock_that_has_not_run_out_is_left_alone(rows: RowsOnly) -> None:
    job = rows.run(1, run_timeout_seconds=100)
    assert enforce_deadlines(rows.database) == []
    assert rows.job(job).state is JobState.RUNNING


def test_queue_timeout_fails_without_another_attempt(rows: RowsOnly) -> None:
    job = rows.submit(3, queue_timeout_seconds=60, retry_policy=RetryPolicy(max_attempts=3))
    run_out(rows, job)
    assert len(enforce_deadlines(rows.database)) == 1
    done = rows.job(job)
    assert (done.state, done.reason, done.attempt) == (JobState.FAILED, "QUEUE_TIMEOUT", 1)
    assert done.status == "not placed within 60 s (timeouts.queue): queued"
    assert {rank[2] for rank in rows.ranks(job)} == {"STOPPED"}


def test_queue_clock_of_a_retried_job_begins_when_its_back_off_is_over(rows: RowsOnly) -> None:
    policy = RetryPolicy(max_attempts=2, backoff=Backoff(initial_seconds=40))
    job = rows.run(1, queue_timeout_seconds=60, retry_policy=policy)
    rows.exit(job, 0, 1)
    rows.release(job, 0)
    assert clock(rows, job) == 100


def test_pull_timeout_says_what_was_waited_for(rows: RowsOnly) -> None:
    job = rows.submit(2, pull_timeout_seconds=60)
    rows.place(job)
    run_out(rows, job)
    enforce_deadlines(rows.database)
    done = rows.job(job)
    assert (done.state, done.reason) == (JobState.FAILED, "PULL_TIMEOUT")
    assert done.status == (
        "not running within 60 s of being placed (timeouts.pull): room is reserved; preparing containers"
    )


def test_run_timeout_stops_every_rank_then_fails_although_they_exit_0(rows: RowsOnly) -> None:
    job = rows.run(2, run_timeout_seconds=60)
    run_out(rows, job)
    (settled,) = enforce_deadlines(rows.database)
    assert len(settled.stops) == 2
    assert (rows.job(job).state, rows.job(job).reason) == (JobState.RUNNING, "RUN_TIMEOUT")
    assert clock(rows, job) is None, "it has run out once and for all"
    rows.exit(job, 0, 0)
    rows.stopped(job, 1)
    done = rows.job(job)
    assert (done.state, done.reason) == (JobState.FAILED, "RUN_TIMEOUT")
    assert done.status == "stopped after running for 60 s (timeouts.run)"


def test_run_timeout_is_retried_where_a_rule_names_it(rows: RowsOnly) -> None:
    rule = RetryRule(RetryAction.RETRY, reasons=("RUN_TIMEOUT",))
    job = rows.run(1, run_timeout_seconds=60, retry_policy=RetryPolicy(max_attempts=2, rules=(rule,)))
    run_out(rows, job)
    enforce_deadlines(rows.database)
    rows.stopped(job, 0)
    rows.release(job, 0)
    again = rows.job(job)
    assert (again.state, again.attempt) == (JobState.QUEUED, 2)
    assert again.status == ("attempt 1 of 2 failed: stopped after running for 60 s (timeouts.run); starting again")


def test_cancel_of_a_job_that_has_run_too_long_cancels(rows: RowsOnly) -> None:
    job = rows.run(1, run_timeout_seconds=60)
    run_out(rows, job)
    enforce_deadlines(rows.database)
    stopping.cancel(rows.database, rows.account, job)
    rows.stopped(job, 0)
    assert rows.job(job).state is JobState.CANCELLED


def test_ttl_deletes_an_ended_job_once_its_containers_are_gone(rows: RowsOnly) -> None:
    job = rows.run(1, ttl_seconds=0.001)
    rows.exit(job, 0, 0)
    run_out(rows, job)
    enforce_deadlines(rows.database)
    assert rows.job(job).state is JobState.DELETING
    rows.release(job, 0)
    assert rows.execute("SELECT 1 FROM jobs WHERE id = :j", job) == []


def test_sweeps_at_the_same_time_enforce_once(rows: RowsOnly) -> None:
    jobs = [rows.submit(1, queue_timeout_seconds=60) for _ in range(20)]
    for job in jobs:
        run_out(rows, job)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: enforce_deadlines(rows.database), range(4)))
    assert sum(map(len, found)) == len(jobs)
    for job in jobs:
        assert rows.execute("SELECT count(*) FROM job_events WHERE job_id = :j AND state = 'FAILED'", job) == [
            (1,)
        ]
