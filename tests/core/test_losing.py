"""Nodes that are silent for too long: what is lost, what starts again elsewhere, what waits for their return."""

from __future__ import annotations

import pytest

from core.database import Database
from core.jobs import launching
from core.jobs.losing import lose_silent_nodes
from core.nodes import record_answer, record_silence
from core.policies import RetryAction, RetryPolicy, RetryRule
from core.states import JobState
from tests.core.attempts_lab import RowsOnly


@pytest.fixture
def rows(database: Database) -> RowsOnly:
    return RowsOnly(database)


def silence(rows: RowsOnly, node: int, seconds: int = 600) -> None:
    """The node has not answered for so long."""
    record_silence(rows.database, node, "no answer")
    rows.execute(f"UPDATE nodes SET state_since = now() - interval '{seconds} s' WHERE id = {node}", "")


def lose(rows: RowsOnly) -> int:
    return len(lose_silent_nodes(rows.database, 300))


def test_silence_that_has_not_lasted_decides_nothing(rows: RowsOnly) -> None:
    job = rows.run(2)
    silence(rows, rows.nodes[1].id, seconds=200)
    assert lose(rows) == 0
    assert rows.job(job).state is JobState.RUNNING


def test_gang_of_which_nothing_was_created_starts_again_elsewhere_uncharged(rows: RowsOnly) -> None:
    job = rows.submit(2)
    nodes = rows.place(job)
    silence(rows, nodes[1])
    assert lose(rows) == 1
    assert lose(rows) == 0, "once"
    again = rows.job(job)
    assert (again.state, again.attempt, again.reason) == (JobState.QUEUED, 2, "NODE_LOST")
    assert "rank 1 was lost" in again.status and "has not answered for 300 s" in again.status
    kept = rows.execute("SELECT avoided_nodes, uncharged_attempts FROM jobs WHERE id = :j", job)
    assert kept == [([nodes[1]], 1)]


def test_gang_of_which_something_was_created_waits_for_that_to_be_gone(rows: RowsOnly) -> None:
    job = rows.submit(2)
    nodes = rows.create(job)  # rank 0 is CREATED, and rank 1, the last to be, is being started
    silence(rows, nodes[0])
    assert lose(rows) == 1
    assert [rank[2] for rank in rows.ranks(job)] == ["LOST", "STARTING"]
    assert rows.job(job).state is JobState.PENDING
    launching.record_failure(rows.database, job, 1, [1], reason="STOPPED_BEFORE_START", message="", released=True)
    assert (rows.job(job).state, rows.job(job).attempt) == (JobState.QUEUED, 2)


def test_start_that_nobody_reported_may_have_happened(rows: RowsOnly) -> None:
    job = rows.submit(1)
    (node,) = rows.create(job)
    rows.execute("UPDATE ranks SET lease_until = now() - interval '1 s' WHERE job_id = :j", job)
    silence(rows, node)
    assert lose(rows) == 1
    assert (rows.job(job).state, rows.job(job).attempt) == (JobState.PENDING, 1)
    record_answer(rows.database, node, "1")
    rows.release(job, 0)
    assert (rows.job(job).state, rows.job(job).attempt) == (JobState.QUEUED, 2)


def test_creation_under_way_is_left_to_its_step_until_its_lease_is_over(rows: RowsOnly) -> None:
    job = rows.submit(1)
    (node,) = rows.place(job)
    launching.claim_launch(rows.database, job, 1, node, 60)
    silence(rows, node)
    assert lose(rows) == 0
    rows.execute("UPDATE ranks SET lease_until = now() - interval '1 s' WHERE job_id = :j", job)
    assert lose(rows) == 1
    assert rows.job(job).attempt == 2


def test_rank_that_ran_fails_its_job_and_keeps_its_slot(rows: RowsOnly) -> None:
    job = rows.run(2)
    silence(rows, rows.nodes[1].id)
    assert lose(rows) == 1
    rows.stopped(job, 0)
    done = rows.job(job)
    assert (done.state, done.reason) == (JobState.FAILED, "NODE_LOST")
    assert rows.ranks(job)[1] == (1, 1, "LOST", "NODE_LOST")
    held = rows.execute("SELECT rank FROM ranks WHERE job_id = :j AND released_at IS NULL ORDER BY 1", job)
    assert held == [(0,), (1,)], "it may still run there"


def test_another_attempt_waits_until_the_lost_node_is_back_and_its_container_gone(rows: RowsOnly) -> None:
    rule = RetryRule(RetryAction.RETRY, node_lost=True)
    policy = RetryPolicy(max_attempts=2, rules=(rule, RetryRule(RetryAction.FAIL)))
    job = rows.run(2, retry_policy=policy)
    node = rows.nodes[1].id
    silence(rows, node)
    lose(rows)
    rows.stopped(job, 0)
    rows.release(job, 0)
    waiting = rows.job(job)
    assert (waiting.state, waiting.attempt) == (JobState.RUNNING, 1)
    record_answer(rows.database, node, "1")
    rows.release(job, 1)
    again = rows.job(job)
    assert (again.state, again.attempt) == (JobState.QUEUED, 2)
    assert rows.execute("SELECT avoided_nodes FROM jobs WHERE id = :j", job) == [([node],)]
