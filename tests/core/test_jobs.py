"""The verbs that move jobs, on a real Postgres: capacity, claims, the start barrier, ends, and who wins a race."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network

import pytest

from core.api_keys import authenticate
from core.database import Database
from core.enrolment import ensure_first_account
from core.errors import FailedPrecondition, NotFound, OtherImageFixed, Superseded
from core.jobs import ending, launching, starting, stopping
from core.jobs.ending import RankExit
from core.jobs.gang_networks import networks_to_remove
from core.jobs.history import get_rank
from core.jobs.job_moves import move_job
from core.jobs.placing import Placement, place, take_snapshot
from core.jobs.quotas import Limits
from core.jobs.reading import get_job
from core.jobs.stop_plan import intend_signals
from core.jobs.submitting import Submission, submit
from core.jobs.sweeping import find_due, live_groups
from core.nodes import ensure_node, ensure_pool, nodes_of_group
from core.spec import JobSpec, ShellExecutor
from core.states import JobState, RankState

RANGE = IPv4Network("10.201.0.0/16")
_numbers = itertools.count()


class Pool:
    """A pool of one node with eight slots, in an account of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.account = f"account-{next(_numbers)}"
        key = ensure_first_account(database, account=self.account, user_email="a@b.c", key_file_has_key=False)
        assert key is not None
        self.caller = authenticate(database, key)
        ensure_pool(database, account=self.account)
        ensure_node(
            database,
            account=self.account,
            endpoint="unix:///nowhere",
            worker_group=self.account,
            cpu_count=4,
            memory_bytes=8 << 30,
        )
        self.node = nodes_of_group(database, self.account)[0]

    def submit(self, ranks: int) -> str:
        spec = JobSpec("image:1", num_ranks=ranks, executor=ShellExecutor("true"))
        submission = Submission(pool="default", display_name="", shared=False, spec=spec)
        return submit(self.database, self.caller, submission, Limits(1000, 10_000)).job.id

    def place(self, job_id: str, ranks: int) -> bool:
        placement = Placement(job_id, 1, (self.node.id,) * ranks)
        return bool(place(self.database, self.node.pool_row, [placement], RANGE))

    def state(self, job_id: str) -> JobState:
        return get_job(self.database, self.account, job_id).state

    def run(self, ranks: int) -> str:
        """A job brought to RUNNING, without an engine."""
        job_id = self.submit(ranks)
        assert self.place(job_id, ranks)
        work = launching.claim_launch(self.database, job_id, 1, self.node.id, 60)
        assert work is not None
        containers = {rank: f"c{rank}" for rank in work.ranks}
        start = launching.record_created(self.database, job_id, 1, self.node.id, containers, "sha256:1", 60)
        assert start.containers == containers
        starting.record_started(self.database, job_id, 1, dict.fromkeys(containers, datetime.now(UTC)))
        assert self.state(job_id) is JobState.RUNNING
        return job_id


@pytest.fixture
def pool(database: Database) -> Pool:
    return Pool(database)


def exit_with(code: int, after: float = 0.0) -> RankExit:
    now = datetime.now(UTC)
    return RankExit(code, False, now, now + timedelta(seconds=after), f"bye {code}", 0)


def test_place_many_at_a_time_never_exceeds_the_slots(pool: Pool) -> None:
    jobs = [pool.submit(3) for _ in range(10)]
    with ThreadPoolExecutor(8) as threads:
        placed = list(threads.map(lambda job: pool.place(job, 3), jobs))
    assert sum(placed) == 2
    assert take_snapshot(pool.database, pool.node.pool_row).nodes[0].free == 2


def test_place_of_a_cancelled_job_takes_no_room(pool: Pool) -> None:
    job = pool.submit(3)
    stopping.cancel(pool.database, pool.account, job)
    assert not pool.place(job, 3)
    assert pool.state(job) is JobState.CANCELLED


def test_claim_launch_is_had_once_until_its_lease_runs_out(pool: Pool) -> None:
    job = pool.submit(1)
    pool.place(job, 1)
    assert launching.claim_launch(pool.database, job, 1, pool.node.id, 0.0) is not None
    assert launching.claim_launch(pool.database, job, 1, pool.node.id, 60) is not None
    assert launching.claim_launch(pool.database, job, 1, pool.node.id, 60) is None


def test_claim_launch_of_another_attempt_gets_nothing(pool: Pool) -> None:
    job = pool.submit(1)
    pool.place(job, 1)
    assert launching.claim_launch(pool.database, job, 2, pool.node.id, 60) is None


def test_record_created_of_part_of_a_gang_starts_nothing(pool: Pool) -> None:
    job = pool.submit(2)
    pool.place(job, 2)
    launching.claim_launch(pool.database, job, 1, pool.node.id, 60)
    start = launching.record_created(pool.database, job, 1, pool.node.id, {0: "c0"}, "d", 60)
    assert not start.containers
    start = launching.record_created(pool.database, job, 1, pool.node.id, {1: "c1"}, "d", 60)
    assert start.containers == {0: "c0", 1: "c1"}
    assert not starting.claim_start(pool.database, job, 1, pool.node.id, 60).containers


def test_launch_claimed_while_a_stop_holds_its_job_does_not_wait_for_it(pool: Pool) -> None:
    """It has its ranks' locks by then, and the stop that came to them would wait for it: one of the two lost."""
    job = pool.submit(1)
    pool.place(job, 1)
    with ThreadPoolExecutor(1) as other, pool.database.transaction() as connection:
        stopping.lock_job(connection, job)
        claim = other.submit(launching.claim_launch, pool.database, job, 1, pool.node.id, 60)
        work = claim.result(timeout=10)
    assert work is not None and work.ranks == (0,)


def test_record_created_after_a_cancel_is_superseded(pool: Pool) -> None:
    job = pool.submit(1)
    pool.place(job, 1)
    launching.claim_launch(pool.database, job, 1, pool.node.id, 60)
    stopping.cancel(pool.database, pool.account, job)
    with pytest.raises(Superseded):
        launching.record_created(pool.database, job, 1, pool.node.id, {0: "c0"}, "d", 60)
    assert launching.still_held(pool.database, job, 1, [0]) == [0]
    launching.record_failure(pool.database, job, 1, [0], reason="X", message="", released=True)
    assert pool.state(job) is JobState.CANCELLED


def test_record_created_of_another_image_than_the_gangs_is_refused_and_keeps_the_claim(pool: Pool) -> None:
    job = pool.submit(2)
    pool.place(job, 2)
    launching.claim_launch(pool.database, job, 1, pool.node.id, 60)
    launching.record_created(pool.database, job, 1, pool.node.id, {0: "c0"}, "d", 60)
    with pytest.raises(OtherImageFixed, match="runs d, and not e"):
        launching.record_created(pool.database, job, 1, pool.node.id, {1: "c1"}, "e", 60)
    assert launching.still_held(pool.database, job, 1, [0, 1]) == [1]


@pytest.mark.parametrize("code", [1, 143])
def test_exit_of_a_rank_that_its_engines_restart_ended_is_no_success(pool: Pool, code: int) -> None:
    job = pool.run(1)
    end = replace(exit_with(code), engine_restarted=True)
    ending.record_exits(pool.database, job, 1, {0: end})
    record = get_job(pool.database, pool.account, job)
    assert (record.state, record.reason) == (JobState.FAILED, "ENGINE_RESTARTED")
    said = f"the job failed on node local: its engine was restarted and ended it (exit code {code}): bye {code}"
    assert record.status == said


@pytest.mark.parametrize("code", [0, 255])
def test_exit_that_an_engine_did_not_see_before_its_restart_has_no_code(pool: Pool, code: int) -> None:
    job = pool.run(1)
    ending.record_exits(pool.database, job, 1, {0: replace(exit_with(code), engine_restarted=True)})
    said = f"the job failed on node local: its engine was restarted, and how it ended is not known: bye {code}"
    assert get_job(pool.database, pool.account, job).status == said
    assert get_rank(pool.database, pool.account, job, 0, attempt=None).exit_code is None


@pytest.mark.parametrize("code", [0, 143, 255])
def test_exit_of_a_rank_that_was_told_to_stop_is_a_stop_whatever_its_engine_did(pool: Pool, code: int) -> None:
    job = pool.run(1)
    stopping.cancel(pool.database, pool.account, job)
    intend_signals(pool.database, job, 1, terminate=[0], kill=[])
    ending.record_exits(pool.database, job, 1, {0: replace(exit_with(code), engine_restarted=True)})
    assert pool.state(job) is JobState.CANCELLED
    assert get_rank(pool.database, pool.account, job, 0, attempt=None).state is RankState.STOPPED


def test_record_exits_of_every_rank_completes_the_job_and_frees_its_slots(pool: Pool) -> None:
    job = pool.run(3)
    for rank in range(3):
        ending.record_exits(pool.database, job, 1, {rank: exit_with(0)})
    assert pool.state(job) is JobState.COMPLETED
    assert len(ending.watched_ranks(pool.database, pool.node.id)) == 3
    stopping.release(pool.database, job, 1, [0, 1, 2])
    assert ending.watched_ranks(pool.database, pool.node.id) == []
    assert (job, 1) in networks_to_remove(pool.database, pool.node.id)


def test_record_exits_a_second_time_is_superseded(pool: Pool) -> None:
    job = pool.run(1)
    ending.record_exits(pool.database, job, 1, {0: exit_with(0)})
    with pytest.raises(Superseded):
        ending.record_exits(pool.database, job, 1, {0: exit_with(1)})
    assert pool.state(job) is JobState.COMPLETED


def test_record_exits_of_a_failure_stops_the_others_and_names_the_first(pool: Pool) -> None:
    job = pool.run(3)
    settled = ending.record_exits(pool.database, job, 1, {1: exit_with(7)})
    assert [order.node_id for order in settled.stops] == [pool.node.id]
    assert "stopping 2 other ranks" in get_job(pool.database, pool.account, job).status
    for rank in (0, 2):
        ending.record_exits(pool.database, job, 1, {rank: exit_with(143, after=1)})
    done = get_job(pool.database, pool.account, job)
    assert done.state is JobState.FAILED
    assert done.status == "rank 1 failed first on node local: exit code 7: bye 7"


def test_record_exits_of_all_ranks_at_a_time_settles_once(pool: Pool) -> None:
    job = pool.run(8)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda rank: ending.record_exits(pool.database, job, 1, {rank: exit_with(0)}), range(8)))
    assert pool.state(job) is JobState.COMPLETED


@pytest.mark.parametrize("end", [stopping.cancel, stopping.delete])
def test_end_of_another_accounts_job_is_not_found(
    pool: Pool, end: Callable[[Database, str, str], stopping.Settled]
) -> None:
    job = pool.submit(1)
    with pytest.raises(NotFound):
        end(pool.database, "somebody-else", job)
    assert pool.state(job) is JobState.QUEUED


def test_ended_job_has_no_way_back(pool: Pool) -> None:
    job = pool.run(1)
    ending.record_exits(pool.database, job, 1, {0: exit_with(0)})
    with pytest.raises(FailedPrecondition):
        stopping.cancel(pool.database, pool.account, job)
    with pool.database.transaction() as connection:
        for state in (JobState.QUEUED, JobState.PENDING, JobState.RUNNING, JobState.FAILED, JobState.CANCELLED):
            assert not move_job(connection, job, 1, state, status="x")


def test_delete_of_a_running_job_waits_for_its_containers(pool: Pool) -> None:
    job = pool.run(2)
    stopping.delete(pool.database, pool.account, job)
    for rank in range(2):
        ending.record_exits(pool.database, job, 1, {rank: exit_with(143, after=1)})
    assert pool.state(job) is JobState.DELETING
    stopping.release(pool.database, job, 1, [0, 1])
    with pytest.raises(NotFound):
        pool.state(job)
    assert (job, 1) in networks_to_remove(pool.database, pool.node.id)


def test_find_due_sees_what_nobody_rang_for(pool: Pool) -> None:
    queued, placed = pool.submit(1), pool.submit(1)
    pool.place(placed, 1)
    assert pool.node.pool_row in find_due(pool.database).pools
    with pool.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE ranks SET placed_at = placed_at - interval '1 minute'")
    assert placed in {order.job_id for order in find_due(pool.database).launches}
    assert queued not in {order.job_id for order in find_due(pool.database).launches}


def test_find_due_of_a_busy_group_has_only_what_has_waited_for_long(pool: Pool) -> None:
    fresh, old = pool.submit(1), pool.submit(1)
    for job in (fresh, old):
        pool.place(job, 1)
    for job, seconds in ((fresh, 5), (old, 60)):
        with pool.database.transaction() as connection:
            connection.exec_driver_sql(
                "UPDATE ranks SET placed_at = now() - make_interval(secs => %s) WHERE job_id = %s", (seconds, job)
            )
    due = {order.job_id for order in find_due(pool.database).launches}
    assert {fresh, old} <= due
    group = pool.node.worker_group
    assert group in live_groups(pool.database)
    due_of_busy = {order.job_id for order in find_due(pool.database, [group]).launches}
    assert old in due_of_busy
    assert fresh not in due_of_busy
