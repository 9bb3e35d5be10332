"""Passes on a real Postgres: what they look at, what they write down of those that wait, what is foretold."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from core.database import Database
from core.jobs import queue_reading
from core.jobs.outlook import Outlook, outlook
from core.jobs.placing import take_snapshot, write_waiting
from core.placement.planning import plan_pass
from core.placement.values import Need
from core.pools.changing import change_pool
from core.spec import JobSpec
from tests.core.placing_site import GIB, Site


def test_snapshot_of_a_long_queue_has_the_head_of_every_accounts_and_reads_little_more(
    database: Database,
) -> None:
    site = Site(database)
    other = site.share_with()
    site.query(
        "INSERT INTO jobs (id, account_id, batch_job_id, pool_id, created_by, display_name, shared, num_ranks,"
        " image_ref, spec, state, created_at) SELECT %s || g || '-' || a, a, 'b' || g, %s, 'a', '', false, 1, 'i',"
        " jsonb_build_object('priority', g %% 3), 'QUEUED', now() - make_interval(secs => g)"
        " FROM unnest(%s::text[], %s::int[]) AS u(a, n), generate_series(1, u.n) AS g",
        site.account,
        site.pool_row,
        [site.account, other],
        [10_000, 10],
    )
    site.query(
        "INSERT INTO ranks (job_id, attempt, rank, state) SELECT id, 1, 0, 'WAITING' FROM jobs WHERE pool_id = %s",
        site.pool_row,
    )
    site.query("ANALYZE jobs")
    snapshot = take_snapshot(database, site.pool_row)
    counted = Counter(job.account for job in snapshot.waiting)
    assert counted == {site.account: queue_reading.PASS_LIMIT // 2, other: 10}
    assert snapshot.is_cut
    mine = [job for job in snapshot.waiting if job.account == site.account]
    assert {job.priority for job in mine} == {2}
    assert [job.waited_seconds for job in mine] == sorted((job.waited_seconds for job in mine), reverse=True)
    with database.transaction() as connection:
        asked = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {queue_reading._HEADS.text}")
        given = {"pool": site.pool_row, "limit": queue_reading.PASS_LIMIT, "skipped": []}
        plan = connection.execute(asked, given).scalar_one()
    assert _rows_read(plan[0]["Plan"]) < 4 * queue_reading.PASS_LIMIT
    ran = set(site.run())
    started = Counter(job.account for job in snapshot.waiting if job.id in ran)
    assert started == {site.account: 13, other: 3}, "of the other's ten, three have the priority of the head"


def _rows_read(plan: dict[str, Any]) -> int:
    own = plan["Actual Rows"] * plan["Actual Loops"] if "Relation Name" in plan else 0
    filtered = plan.get("Rows Removed by Filter", 0) * plan["Actual Loops"]
    return int(own + filtered + sum(_rows_read(child) for child in plan.get("Plans", ())))


def test_snapshot_has_what_a_job_asks_for(site: Site) -> None:
    site.submit(
        3,
        priority=7,
        cpu_milli=1500,
        memory_bytes=GIB,
        node_labels={"b": "2", "a": "1"},
        run_timeout_seconds=90.0,
    )
    site.submit()
    first, second = take_snapshot(site.database, site.pool_row).waiting
    assert (first.num_ranks, first.priority, first.need) == (3, 7, Need(1500, GIB))
    assert (first.labels, first.run_seconds, first.is_limited) == ((("a", "1"), ("b", "2")), 90.0, True)
    assert (second.priority, second.need, second.labels, second.is_limited) == (0, Need(), (), False)


def test_snapshot_leaves_out_a_job_that_is_to_be_tried_again_later(site: Site) -> None:
    job = site.submit()
    site.query("UPDATE jobs SET not_before_at = now() + interval '1 minute' WHERE id = %s", job)
    assert take_snapshot(site.database, site.pool_row).waiting == ()
    site.query("UPDATE jobs SET not_before_at = now() WHERE id = %s", job)
    assert len(take_snapshot(site.database, site.pool_row).waiting) == 1


def test_pass_goes_on_while_it_has_not_seen_the_whole_queue(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_reading, "PASS_LIMIT", 4)
    jobs = {site.submit() for _ in range(10)}
    assert set(site.run()) == jobs


def test_pass_looks_past_jobs_that_can_never_start(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_reading, "PASS_LIMIT", 4)
    hopeless = [site.submit(17) for _ in range(10)]
    job = site.submit(1)
    assert site.run() == [job]
    assert {site.written(each).reason for each in hopeless} == {"NEVER_FITS_POOL"}


# Why they wait.


def fill(site: Site, *, runs: float | None = None, started: float = 0.0) -> list[str]:
    """Have every slot held by single ranks that run for so long, and have run for some of it."""
    jobs = [site.submit(run_timeout_seconds=runs) for _ in range(16)]
    assert set(site.run()) == set(jobs)
    site.query(
        "UPDATE jobs SET state = 'RUNNING', started_at = now() - make_interval(secs => %s) WHERE id = ANY(%s)",
        started,
        jobs,
    )
    return jobs


def wait(site: Site, seconds: float) -> None:
    """Let what is queued have waited longer."""
    site.query(
        "UPDATE jobs SET created_at = created_at - make_interval(secs => %s)"
        " WHERE pool_id = %s AND state = 'QUEUED'",
        seconds,
        site.pool_row,
    )


def test_reasons_are_written_once_and_again_only_when_they_change(site: Site) -> None:
    running = fill(site)
    jobs = [site.submit(2), site.submit(1), site.submit(20)]
    site.run()
    before = [site.written(job) for job in jobs]
    assert [(row.reason, row.queue_position) for row in before] == [
        ("WAITING_FOR_ROOM", 1),
        ("WAITING_FOR_TURN", 2),
        ("NEVER_FITS_POOL", None),
    ]
    assert before[0].status == "waiting for 2 of 16 slots; position 1 in the queue"
    assert before[2].status == "waiting: needs 20 slots, the pool has 16"
    site.run()
    assert [site.written(job) for job in jobs] == before
    site.query("UPDATE ranks SET released_at = now() WHERE job_id = ANY(%s)", running[:1])
    wait(site, 60)
    site.run()
    second = site.written(jobs[1])
    assert second.reason == "WAITING_BEHIND_RESERVATION"
    assert "behind a job that has waited longer and needs 2 slots" in second.status


def test_start_is_estimated_from_the_run_timeouts_of_what_runs(site: Site) -> None:
    fill(site, runs=600.0, started=300.0)
    job = site.submit(8)
    wait(site, 60)
    site.run()
    row = site.written(job)
    seconds = (row.estimated_start_at - row.updated_at).total_seconds()
    assert 290 < seconds < 365
    assert f"estimated start {row.estimated_start_at:%Y-%m-%d %H:%M} UTC" in row.status


def test_start_is_estimated_from_past_runs_of_the_image(site: Site) -> None:
    past = fill(site)
    site.query(
        "UPDATE jobs SET state = 'COMPLETED', ended_at = now(), started_at = now() - interval '100 s'"
        " WHERE id = ANY(%s)",
        past,
    )
    site.query("UPDATE ranks SET released_at = now() WHERE job_id = ANY(%s)", past)
    fill(site, started=40.0)
    job = site.submit(8)
    wait(site, 60)
    site.run()
    row = site.written(job)
    assert 55 < (row.estimated_start_at - row.updated_at).total_seconds() < 125


def test_start_after_runs_that_nobody_can_know_is_unknown(site: Site) -> None:
    fill(site)
    job = site.submit(8)
    wait(site, 60)
    site.run()
    assert site.written(job).estimated_start_at is None


def test_write_waiting_leaves_alone_what_is_not_queued_or_another_attempt(site: Site) -> None:
    fill(site)
    jobs = [site.submit(1), site.submit(1)]
    plan = plan_pass(take_snapshot(site.database, site.pool_row))
    site.query("UPDATE jobs SET state = 'CANCELLED' WHERE id = %s", jobs[0])
    site.query("UPDATE jobs SET attempt = 2 WHERE id = %s", jobs[1])
    before = [site.written(job) for job in jobs]
    write_waiting(site.database, list(plan.waiting.values()))
    assert [site.written(job) for job in jobs] == before


# The dry run.


def ask(site: Site, ranks: int, **asked: Any) -> Outlook:
    return outlook(site.database, site.pool_row, site.account, JobSpec("image:1", num_ranks=ranks, **asked))


def say(site: Site, ranks: int, **asked: Any) -> str:
    return ask(site, ranks, **asked).sentence


def test_outlook_a_job_that_fits_names_the_nodes(site: Site) -> None:
    assert say(site, 4) == "valid; it would start now on node n0 (4 ranks)"
    change_pool(site.database, site.account, "default", {"network": "overlay"})
    assert say(site, 9) == "valid; it would start now on node n0 (8 ranks) and node n1 (1 rank)"
    ((now,),) = site.query("SELECT now()")
    found = ask(site, 4)
    assert (found.reason, found.position) == ("", 0)
    assert found.starts_at is not None and timedelta(0) <= found.starts_at - now < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("ranks", "asked", "said"),
    [
        (17, {}, "needs 17 slots, the pool has 16"),
        (9, {}, "needs 9 ranks on one node, and the largest takes 8"),
        (1, {"cpu_milli": 9000}, "needs 1 rank with 9 CPUs each, and all nodes together could take 0"),
        (1, {"node_labels": {"disk": "ssd"}}, "needs nodes with disk=ssd, and no node of the pool is one"),
    ],
)
def test_outlook_a_job_that_never_fits_says_why(site: Site, ranks: int, asked: Any, said: str) -> None:
    found = ask(site, ranks, **asked)
    assert found.sentence.startswith(f"valid; as the pool is now, never: {said}")
    assert (found.reason, found.position, found.starts_at) == ("NEVER_FITS_POOL", 0, None)


def test_outlook_a_job_that_waits_says_its_place_and_when(site: Site) -> None:
    fill(site, runs=600.0, started=300.0)
    site.submit(1, run_timeout_seconds=60.0)
    found = ask(site, 8)
    assert found.sentence == (
        "valid; it would wait: waiting for its turn and for 8 of 16 slots, position 2,"
        " estimated start in about 5 minutes"
    )
    ((now,),) = site.query("SELECT now()")
    assert (found.reason, found.position) == ("WAITING_FOR_TURN", 2)
    assert found.starts_at is not None and timedelta(minutes=4) < found.starts_at - now < timedelta(minutes=7)
    assert say(site, 8, priority=1).startswith("valid; it would wait: waiting for 8 of 16 slots, position 1")
    assert site.query("SELECT count(*) FROM jobs WHERE pool_id = %s", site.pool_row) == [(17,)]


def test_outlook_in_a_pool_without_a_node_says_so(database: Database) -> None:
    site = Site(database, node_count=0)
    assert say(site, 3) == "valid; as the pool is now, never: needs 3 slots, the pool has 0"
    assert ask(site, 3).reason == "NO_NODE"
