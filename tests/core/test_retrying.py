"""Attempts in rows: what is tried again, when and where; none begins while a container of another is left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from core.database import Database
from core.jobs import ending, launching, starting, stopping
from core.jobs.placing import take_snapshot
from core.jobs.stop_plan import intend_signals, record_signalled
from core.jobs.sweeping import find_due
from core.policies import Backoff, RankFailurePolicy, RetryAction, RetryPolicy, RetryRule
from core.states import JobState
from tests.core.attempts_lab import RowsOnly

RESTART_ALL = RankFailurePolicy.RESTART_ALL


@pytest.fixture
def rows(database: Database) -> RowsOnly:
    return RowsOnly(database)


def test_restart_all_begins_again_when_every_container_is_gone_until_attempts_are_used_up(rows: RowsOnly) -> None:
    job = rows.run(2, rank_failure_policy=RESTART_ALL, retry_policy=RetryPolicy(max_attempts=2))
    settled = rows.exit(job, 1, 3, said="boom")
    assert len(settled.stops) == 2
    rows.stopped(job, 0)
    waiting = rows.job(job)
    assert (waiting.state, waiting.attempt) == (JobState.RUNNING, 1), "its containers are still there"
    rows.release(job, 0)
    assert rows.job(job).state is JobState.RUNNING
    freed = rows.release(job, 1)
    assert freed is not None and freed.slots_freed
    again = rows.job(job)
    assert (again.state, again.attempt, again.started_at) == (JobState.QUEUED, 2, None)
    assert again.status == (
        "attempt 1 of 2 failed: rank 1 failed first on node two: exit code 3: boom; starting again"
    )
    rows.rerun(job)
    rows.exit(job, 0, 4, said="bang")
    rows.stopped(job, 1)
    done = rows.job(job)
    assert (done.state, done.attempt, done.reason) == (JobState.FAILED, 2, "EXIT_CODE")
    assert done.status == "rank 0 failed first on node one: exit code 4: bang; after 2 attempts"
    assert rows.ranks(job) == [
        (1, 0, "STOPPED", "STOPPED"),
        (1, 1, "FAILED", "EXIT_CODE"),
        (2, 0, "FAILED", "EXIT_CODE"),
        (2, 1, "STOPPED", "STOPPED"),
    ]


def test_restart_all_second_attempt_that_exits_0_completes(rows: RowsOnly) -> None:
    job = rows.run(1, rank_failure_policy=RESTART_ALL)
    rows.exit(job, 0, 1)
    rows.release(job, 0)
    rows.rerun(job)
    rows.exit(job, 0, 0)
    assert rows.job(job).state is JobState.COMPLETED


def test_failure_without_a_retry_policy_ends_the_job_at_once(rows: RowsOnly) -> None:
    job = rows.run(1)
    rows.exit(job, 0, 1)
    assert (rows.job(job).state, rows.job(job).attempt) == (JobState.FAILED, 1)


def test_cancel_between_two_attempts_cancels(rows: RowsOnly) -> None:
    job = rows.run(1, retry_policy=RetryPolicy(max_attempts=3))
    rows.exit(job, 0, 1)
    stopping.cancel(rows.database, rows.account, job)
    rows.release(job, 0)
    assert (rows.job(job).state, rows.job(job).attempt) == (JobState.CANCELLED, 1)


def test_delete_between_two_attempts_purges_when_released(rows: RowsOnly) -> None:
    job = rows.run(1, retry_policy=RetryPolicy(max_attempts=3))
    rows.exit(job, 0, 1)
    stopping.delete(rows.database, rows.account, job)
    assert rows.job(job).state is JobState.DELETING
    rows.release(job, 0)
    assert rows.execute("SELECT 1 FROM ranks WHERE job_id = :j", job) == []


def test_back_off_grows_and_is_bounded(rows: RowsOnly) -> None:
    backoff = Backoff(initial_seconds=10, multiplier=3, maximum_seconds=60)
    job = rows.run(1, retry_policy=RetryPolicy(max_attempts=4, backoff=backoff))
    waits = []
    for _ in range(3):
        rows.exit(job, 0, 1)
        rows.release(job, 0)
        found = rows.execute("SELECT extract(epoch FROM not_before_at - updated_at) FROM jobs WHERE id = :j", job)
        waits.append(float(found[0][0]))
        rows.rerun(job)
    assert waits == [10, 30, 60]


def test_last_releases_at_the_same_time_make_one_attempt(rows: RowsOnly) -> None:
    job = rows.run(8, retry_policy=RetryPolicy(max_attempts=5))
    rows.exit(job, 0, 1)
    rows.stopped(job, *range(1, 8))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda rank: rows.release(job, rank, attempt=1), range(8)))
    assert rows.job(job).attempt == 2
    assert [rank[2] for rank in rows.ranks(job) if rank[0] == 2] == ["WAITING"] * 8


def test_platform_failure_before_running_is_not_charged_and_avoids_the_node(rows: RowsOnly) -> None:
    job = rows.submit(2)
    nodes = rows.place(job)
    for node in nodes:
        launching.claim_launch(rows.database, job, 1, node, 60)
    for rank in (1, 0):
        launching.record_failure(
            rows.database, job, 1, [rank], reason="ENGINE_ERROR", message="create failed: no", released=True
        )
    again = rows.job(job)
    assert (again.state, again.attempt) == (JobState.QUEUED, 2)
    assert again.status.startswith("not started, for no fault of its own: rank 1 could not be started on node two")
    kept = rows.execute(
        "SELECT avoided_nodes, uncharged_attempts, not_before_at <= now() FROM jobs WHERE id = :j", job
    )
    assert kept == [([nodes[1]], 1, True)]
    rows.rerun(job)
    rows.exit(job, 0, 1)
    rows.stopped(job, 1)
    assert rows.job(job).state is JobState.FAILED, "the one attempt that it is charged with has failed"


def test_platform_failures_are_made_up_for_a_bounded_number_of_times(rows: RowsOnly) -> None:
    job = rows.submit(1)
    for attempt in range(1, 7):
        (node,) = rows.place(job)
        launching.claim_launch(rows.database, job, attempt, node, 60)
        launching.record_failure(
            rows.database, job, attempt, [0], reason="DISK_FULL", message="no space left", released=True
        )
    done = rows.job(job)
    assert (done.state, done.reason, done.attempt) == (JobState.FAILED, "DISK_FULL", 6)
    assert done.status.endswith("; after 6 attempts")


def test_nodes_that_failed_take_turns_when_there_is_no_other_left(rows: RowsOnly) -> None:
    job, tried, avoided = rows.submit(1), [], []
    for attempt in range(1, 6):
        (node,) = rows.place(job)
        tried.append(node)
        launching.claim_launch(rows.database, job, attempt, node, 60)
        launching.record_failure(
            rows.database, job, attempt, [0], reason="ENGINE_ERROR", message="no", released=True
        )
        avoided.append(rows.execute("SELECT avoided_nodes FROM jobs WHERE id = :j", job)[0][0])
    one, two = (node.id for node in rows.nodes)
    assert tried == [one, two, one, two, one]
    assert avoided == [[one], [one, two], [one], [one, two], [one]]


@pytest.mark.parametrize("reason", ["IMAGE_NOT_FOUND", "REGISTRY_DENIED", "COMMAND_NOT_STARTED"])
def test_users_failure_before_running_fails_at_once(rows: RowsOnly, reason: str) -> None:
    job = rows.submit(1)
    (node,) = rows.place(job)
    launching.claim_launch(rows.database, job, 1, node, 60)
    launching.record_failure(rows.database, job, 1, [0], reason=reason, message="no", released=True)
    assert (rows.job(job).state, rows.job(job).attempt) == (JobState.FAILED, 1)


def test_first_matching_rule_decides(rows: RowsOnly) -> None:
    rules = (
        RetryRule(RetryAction.FAIL, exit_codes=((2, 9),)),
        RetryRule(RetryAction.RETRY),
    )
    job = rows.run(1, retry_policy=RetryPolicy(max_attempts=3, rules=rules))
    rows.exit(job, 0, 1)
    rows.release(job, 0)
    assert rows.job(job).attempt == 2
    rows.rerun(job)
    rows.exit(job, 0, 9)
    assert (rows.job(job).state, rows.job(job).attempt) == (JobState.FAILED, 2)


def test_rank_that_fails_by_itself_while_others_are_stopped_keeps_its_own_end(rows: RowsOnly) -> None:
    """Although its host's clock is an hour behind, or ahead: whether it was told is known from rows."""
    for skew in (-3600.0, 3600.0):
        job = rows.run(3)
        rows.exit(job, 0, 3)
        rows.exit(job, 1, 4, after=skew)
        rows.stopped(job, 2)
        assert [rank[2:] for rank in rows.ranks(job)] == [
            ("FAILED", "EXIT_CODE"),
            ("FAILED", "EXIT_CODE"),
            ("STOPPED", "STOPPED"),
        ]


def test_rank_that_had_ended_before_it_could_be_told_keeps_its_own_end(rows: RowsOnly) -> None:
    job = rows.run(2)
    rows.exit(job, 0, 3)
    intend_signals(rows.database, job, 1, terminate=[1], kill=())
    record_signalled(rows.database, job, 1, [], ended_before=[1])
    rows.exit(job, 1, 4)
    assert rows.ranks(job)[1] == (1, 1, "FAILED", "EXIT_CODE")


def test_rank_that_was_killed_after_its_grace_says_so(rows: RowsOnly) -> None:
    job = rows.run(2)
    rows.exit(job, 0, 3)
    intend_signals(rows.database, job, 1, terminate=[1], kill=())
    record_signalled(rows.database, job, 1, [1])
    intend_signals(rows.database, job, 1, terminate=(), kill=[1])
    rows.exit(job, 1, 137)
    assert rows.ranks(job)[1] == (1, 1, "STOPPED", "KILLED")


def test_ends_of_a_job_are_written_down_in_order(rows: RowsOnly) -> None:
    job = rows.run(8, rank_failure_policy=RankFailurePolicy.IGNORE)
    for rank in (5, 2, 7, 0, 1, 3, 4, 6):
        rows.exit(job, rank, 0)
    found = rows.execute("SELECT rank FROM ranks WHERE job_id = :j ORDER BY recorded_at", job)
    assert [rank for (rank,) in found] == [5, 2, 7, 0, 1, 3, 4, 6]


def test_ignored_failure_before_the_others_were_started_does_not_keep_the_job_from_running(rows: RowsOnly) -> None:
    job = rows.submit(2, rank_failure_policy=RankFailurePolicy.IGNORE)
    rows.create(job)
    rows.start(job, 0)
    rows.exit(job, 0, 3)
    assert rows.job(job).state is JobState.PENDING
    rows.start(job, 1)
    assert rows.job(job).state is JobState.RUNNING
    rows.exit(job, 1, 0)
    assert (rows.job(job).state, rows.job(job).reason) == (JobState.COMPLETED, "RANKS_FAILED")


def test_ignored_rank_that_vanished_before_the_others_were_started_likewise(rows: RowsOnly) -> None:
    job = rows.submit(2, rank_failure_policy=RankFailurePolicy.IGNORE)
    rows.create(job)
    rows.start(job, 0)
    ending.record_lost(rows.database, job, 1, 0, reason="CONTAINER_VANISHED", message="gone")
    rows.start(job, 1)
    rows.exit(job, 1, 0)
    assert rows.job(job).state is JobState.COMPLETED


def test_main_rank_that_ends_before_the_others_were_started_stops_them_when_they_have_been(rows: RowsOnly) -> None:
    job = rows.submit(2, rank_failure_policy=RankFailurePolicy.MAIN_RANK_DECIDES)
    rows.create(job)
    rows.start(job, 0)
    rows.exit(job, 0, 0)
    assert rows.job(job).state is JobState.PENDING
    for node in rows.nodes:
        starting.claim_start(rows.database, job, 1, node.id, 60)
    settled = starting.record_started(rows.database, job, 1, {1: datetime.now(UTC)})
    assert settled is not None and settled.stops
    rows.stopped(job, 1)
    assert (rows.job(job).state, rows.job(job).status) == (JobState.COMPLETED, "rank 0 exited 0")


def test_log_text_is_looked_for_in_the_last_lines(rows: RowsOnly) -> None:
    rules = (RetryRule(RetryAction.FAIL, log_text="quota"),)
    job = rows.run(1, retry_policy=RetryPolicy(max_attempts=9, rules=rules))
    rows.exit(job, 0, 1, said="bye", last_lines="line\nbye\n")
    rows.release(job, 0)
    rows.rerun(job)
    rows.exit(job, 0, 1, said="bye", last_lines="over quota\0\nbye\n")
    assert (rows.job(job).state, rows.job(job).attempt) == (JobState.FAILED, 2)


def test_spec_survives_the_way_through_its_row(rows: RowsOnly) -> None:
    rule = RetryRule(RetryAction.FAIL, ((1, 2), (5, 5)), (9,), True, True, ("RUN_TIMEOUT",), "text")
    policy = RetryPolicy(4, Backoff(1.5, 2.5, 99), (rule, RetryRule(RetryAction.RETRY)))
    job = rows.submit(1, rank_failure_policy=RESTART_ALL, retry_policy=policy, working_directory="/w")
    spec = rows.job(job).spec
    assert (spec.retry_policy, spec.rank_failure_policy, spec.working_directory) == (policy, RESTART_ALL, "/w")


def test_sweep_rings_for_a_job_that_is_tried_again_once_its_back_off_is_over(rows: RowsOnly) -> None:
    job = rows.run(1, retry_policy=RetryPolicy(max_attempts=2, backoff=Backoff(initial_seconds=60)))
    rows.exit(job, 0, 1)
    rows.release(job, 0)
    pool = rows.nodes[0].pool_row
    assert pool not in find_due(rows.database).pools
    assert job not in {waiting.id for waiting in take_snapshot(rows.database, pool).waiting}
    rows.execute("UPDATE jobs SET not_before_at = now() WHERE id = :j", job)
    assert pool in find_due(rows.database).pools
    assert job in {waiting.id for waiting in take_snapshot(rows.database, pool).waiting}


def test_sweep_rings_for_the_stops_that_a_decision_left_behind(rows: RowsOnly) -> None:
    job = rows.run(2, rank_failure_policy=RankFailurePolicy.MAIN_RANK_DECIDES)
    rows.exit(job, 0, 0)
    rows.execute("UPDATE jobs SET stop_requested_at = now() - interval '1 minute' WHERE id = :j", job)
    assert job in {order.job_id for order in find_due(rows.database).stops}


@pytest.mark.parametrize(
    ("code", "signal", "is_retried"),
    [(137, 9, True), (137, 0, True), (137, None, True), (139, 11, False), (9, 0, False)],
)
def test_rule_on_a_signal_goes_by_the_exit_code_that_a_shell_passes_on(
    rows: RowsOnly, code: int, signal: int | None, is_retried: bool
) -> None:
    rules = (RetryRule(RetryAction.RETRY, signals=(9,)), RetryRule(RetryAction.FAIL))
    job = rows.run(1, retry_policy=RetryPolicy(max_attempts=2, rules=rules))
    rows.exit(job, 0, code, signal=signal)
    rows.release(job, 0)
    assert (rows.job(job).state is JobState.QUEUED) is is_retried
    assert rows.ranks(job)[0] == (1, 0, "FAILED", "SIGNAL" if signal else "EXIT_CODE")
