"""What ended attempts left is removed by age and by size, the oldest first: that much, and never in silence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import text

from core.database import Database
from core.errors import OutputRemoved
from core.failpoints import Point
from core.jobs import retention, stopping
from core.jobs.retention import Retention, find_expired, remove_expired
from core.log_blocks import stored_output
from core.log_records import PLATFORM
from core.logs import page_in_place_of, read_page
from core.settings import Settings
from tests.core.packing_lab import DAYS, PackingLab
from tests.core.retention_lab import BY_AGE, bound, grow_old, kept, kept_bytes, packed, run
from worker.packer import Packer


def test_output_older_than_the_age_is_removed_and_all_else_of_its_job_stays(lab: PackingLab) -> None:
    old, young = packed(lab, DAYS + 1, DAYS - 1)
    of_job = (
        "SELECT * FROM jobs WHERE id = :j",
        "SELECT * FROM ranks WHERE job_id = :j",
        "SELECT * FROM job_events",
    )
    before = [lab.rows.execute(query, old) for query in of_job]
    run(lab, BY_AGE)
    assert kept(lab, old, young) == [young]
    assert lab.paths(old) == [] and lab.paths(young) != []
    assert [lab.rows.execute(query, old) for query in of_job] == before
    assert lab.rows.execute("SELECT 1 FROM doomed_objects WHERE folder LIKE '%' || :j || '%'", old) == []
    with pytest.raises(
        OutputRemoved, match=r"the output of attempt 1 was removed on \d{4}-\d\d-\d\d: .* 30 days$"
    ):
        lab.read(old)
    run(lab, BY_AGE)
    assert kept(lab, young) == [young]


@pytest.mark.parametrize(
    ("days", "size", "read"),
    [("", "", (0, 0)), ("0", "0", (0, 0)), ("0.5", "1000", (0.5, 1000)), ("-1", "1", None), ("1e6", "", None)],
)
def test_settings_of_the_platform_are_numbers_or_empty(
    monkeypatch: pytest.MonkeyPatch, days: str, size: str, read: tuple[float, int] | None
) -> None:
    monkeypatch.setenv("LONGSHORE_RETENTION_DAYS", days)
    monkeypatch.setenv("LONGSHORE_RETENTION_BYTES", size)
    monkeypatch.setenv("LONGSHORE_DATABASE_URL", "postgresql://x")
    monkeypatch.setenv("LONGSHORE_BROKER_URL", "redis://x")
    if read is None:
        with pytest.raises(ValidationError, match="retention_days"):
            Settings()
    else:
        found = Settings()
        assert (found.retention_days, found.retention_bytes) == read


def test_platform_that_says_nothing_keeps_all(lab: PackingLab) -> None:
    jobs = packed(lab, 10_000, 1)
    run(lab, Retention())
    assert kept(lab, *jobs) == jobs


def test_account_that_says_otherwise_has_its_own_age_and_others_the_platforms(
    lab: PackingLab, database: Database, tmp_path: Path
) -> None:
    other = PackingLab(database, tmp_path / "objects")
    older, younger = packed(lab, 50, 10)
    (of_other,) = packed(other, 50)
    bound(lab, retention_days=100)
    run(lab, BY_AGE)
    assert (kept(lab, older, younger), kept(other, of_other)) == ([older, younger], [])
    bound(lab, retention_days=20)
    run(lab, BY_AGE)
    assert kept(lab, older, younger) == [younger]
    bound(lab, retention_days=5)
    run(lab, Retention())
    assert kept(lab, younger) == []


def test_account_over_its_size_loses_the_oldest_until_it_is_under(lab: PackingLab) -> None:
    jobs = packed(lab, 1, 5, 3, 2, 4)
    oldest_first = [jobs[at] for at in (1, 4, 2, 3, 0)]
    total = kept_bytes(lab)
    run(lab, Retention(bytes=total))
    assert kept(lab, *jobs) == jobs, "it is not over it"
    run(lab, Retention(bytes=total - 1))
    assert kept(lab, *oldest_first) == oldest_first[1:]
    ((one,),) = lab.rows.execute("SELECT object_bytes FROM packed_attempts WHERE job_id = :j", oldest_first[1])
    run(lab, Retention(bytes=kept_bytes(lab) - one - 1))
    assert kept(lab, *oldest_first) == oldest_first[3:], "the first of two was not enough"
    bound(lab, retention_bytes=1 << 40)
    run(lab, Retention(bytes=1))
    assert kept(lab, *oldest_first) == oldest_first[3:]
    bound(lab, retention_bytes=1)
    run(lab, Retention())
    assert (kept(lab, *jobs), kept_bytes(lab)) == ([], 0)
    with pytest.raises(
        OutputRemoved, match="its account had more than 1 bytes of output, and the oldest goes first"
    ):
        lab.read(jobs[0])


def test_count_of_bytes_follows_jobs_that_are_deleted(lab: PackingLab) -> None:
    jobs = packed(lab, 1, 40)
    assert kept_bytes(lab) > 0
    run(lab, BY_AGE)
    for job in jobs:
        stopping.delete(lab.database, lab.rows.account, lab.rows.job(job).batch_job_id)
    assert kept_bytes(lab) == 0
    run(lab, BY_AGE)
    assert [lab.paths(job) for job in jobs] == [[], []]


def test_earlier_attempt_goes_and_the_job_that_goes_on_keeps_its_own(lab: PackingLab) -> None:
    (job,) = packed(lab, 40)
    lab.rows.execute(
        "INSERT INTO ranks (job_id, attempt, rank, state) SELECT job_id, 2, rank, 'RUNNING' FROM ranks"
        " WHERE job_id = :j",
        job,
    )
    lab.say(job, 0, 0, attempt=2)
    lab.rows.execute("UPDATE jobs SET attempt = 2, state = 'RUNNING' WHERE id = :j", job)
    run(lab, BY_AGE)
    with pytest.raises(OutputRemoved, match="attempt 1"):
        lab.read(job)
    assert len(lab.read(job, attempt=2)) == 7


def test_step_removes_a_bounded_number_and_the_next_goes_on(
    lab: PackingLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.packer._FOLDERS", 2)
    jobs = packed(lab, 35, 34, 33, 32, 31, chunks=1)
    left, steps = jobs, 0
    packer = lab.packer(retention=BY_AGE)
    while any(lab.paths(job) for job in jobs):
        packer.step()
        steps += 1
        now_left = kept(lab, *jobs)
        assert now_left == jobs[len(jobs) - len(now_left) :], "the oldest first"
        assert len(left) - len(now_left) <= 2
        left = now_left
        assert steps < 20
    assert left == []


def test_two_workers_at_once_remove_no_more_than_one_would(lab: PackingLab) -> None:
    jobs = packed(lab, *range(12, 0, -1), chunks=1)
    sizes = lab.rows.execute(
        "SELECT object_bytes FROM packed_attempts WHERE account_id = :j ORDER BY ended_at", lab.rows.account
    )
    limits = Retention(bytes=sum(size for (size,) in sizes[6:]))
    with ThreadPoolExecutor(4) as threads:
        for _ in threads.map(lambda _: run(lab, limits), range(4)):
            pass
    assert kept(lab, *jobs) == jobs[6:]
    assert kept_bytes(lab) == limits.bytes


def test_what_was_found_before_somebody_else_removed_it_or_its_job_is_left_alone(lab: PackingLab) -> None:
    removed, deleted = packed(lab, 40, 41)
    found = {each.job_id: each for each in find_expired(lab.database, BY_AGE, 100)}
    assert remove_expired(lab.database, found[removed])
    assert not remove_expired(lab.database, found[removed])
    stopping.delete(lab.database, lab.rows.account, lab.rows.job(deleted).batch_job_id)
    assert not remove_expired(lab.database, found[deleted])


@pytest.mark.parametrize("point", [Point.OUTPUT_REMOVED, Point.OBJECTS_REMOVED])
def test_kill_at_any_point_of_the_removal_leaves_nothing_half_removed(
    lab: PackingLab, tmp_path: Path, point: Point
) -> None:
    old, young = packed(lab, 40, 1)
    if point is Point.OUTPUT_REMOVED:
        lab.die_at(point, old, tmp_path / "orders")
        assert lab.paths(old) != [], "the rows say so first"
    else:
        lab.packer(retention=BY_AGE).step()
        lab.die_at(point, f"logs/{old}/1/", tmp_path / "orders")
        assert lab.paths(old) == []
    assert kept(lab, old, young) == [young]
    run(lab, Retention())
    assert lab.paths(old) == []
    assert lab.rows.execute("SELECT 1 FROM doomed_objects WHERE folder LIKE '%' || :j || '%'", old) == []
    assert kept(lab, young) == [young]


def test_reader_of_objects_that_are_removed_meanwhile_hears_that_and_gets_no_short_log(lab: PackingLab) -> None:
    job = lab.ended(2)
    lab.pack()
    grow_old(lab, job, 40)
    with (
        pytest.raises(OutputRemoved, match="attempt 1 was removed"),
        stored_output(lab.database, lab.store, job, 1, None) as output,
    ):
        assert output.next_chunk(0, None, from_head=True, since_ns=0) is not None
        run(lab, BY_AGE)
        output.next_chunk(1, None, from_head=True, since_ns=0)


def test_pages_in_place_of_what_was_removed_say_so_once(lab: PackingLab) -> None:
    (job,) = packed(lab, 40)
    before = read_page(lab.database, job, 1, store=lab.store, ranks=None, limit=5, from_head=True)
    run(lab, BY_AGE)
    with pytest.raises(OutputRemoved) as raised:
        read_page(lab.database, job, 1, ranks=None, limit=5, from_head=True, positions=before.positions)
    told = page_in_place_of(raised.value, [7, 4], before.positions)
    (entry,) = told.entries
    assert (entry.rank, entry.record.stream, told.has_more) == (4, PLATFORM, False)
    assert entry.record.data.startswith(b"longshore: the output of attempt 1 was removed on ")
    assert 0 <= entry.record.time_ns - raised.value.removed_at.timestamp() * 1e9 + 1e6 < 2e6
    again = page_in_place_of(raised.value, [7, 4], told.positions)
    assert (again.entries, again.has_more) == ((), False)


def test_output_that_a_late_supervisor_or_worker_brings_back_counts_for_nobody(lab: PackingLab) -> None:
    (job,) = packed(lab, 40)
    run(lab, BY_AGE)
    lab.say(job, 0, 0)
    lab.store.write(f"logs/{job}/1/0-3", [b"of a worker that was frozen"])
    others = {f"outputs/{job}/1/0/result", f"logs/{job}/{10**12}/0-3", f"logs/{job}/x"}
    for path in others:
        lab.store.write(path, [b"of another kind or attempt"])
    Packer(lab.database, lab.store, compact_after_seconds=0, hunt_seconds=0, hunt_grace_seconds=0).step()
    assert lab.chunk_count(job) == 0
    assert set(lab.store.paths_below("")) == others
    with pytest.raises(OutputRemoved):
        lab.read(job)


def test_search_among_many_attempts_takes_steps_into_an_index(lab: PackingLab) -> None:
    """That nothing is due is the usual case, and is found without looking at what is kept."""
    (job,) = packed(lab, 1)
    asked = {"days": 30.0, "bytes": 1 << 40, "most": 20, "ended": ["COMPLETED"]}
    many = (
        "INSERT INTO packed_attempts (job_id, attempt, account_id, ended_at, object_bytes)"
        " SELECT :j, n, account_id, ended_at - interval '1 second' * n, 1000"
        " FROM packed_attempts, generate_series(2, 20000) AS n WHERE job_id = :j"
    )
    lab.rows.execute(many, job)
    lab.rows.execute(
        "INSERT INTO ranks (job_id, attempt, rank, state)"
        " SELECT :j, n, 0, 'FAILED' FROM generate_series(2, 5000) AS n",
        job,
    )
    lab.rows.execute(
        "INSERT INTO notebooks (job_id, attempt, rank, account_id, content)"
        " SELECT r.job_id, r.attempt, r.rank, j.account_id, '' FROM ranks r JOIN jobs j ON j.id = r.job_id"
        " WHERE r.job_id = :j",
        job,
    )
    lab.rows.execute(
        "INSERT INTO rank_outputs (job_id, attempt, rank, account_id, path, object_bytes, file_count,"
        " byte_count, left_out_count) SELECT job_id, attempt, rank, account_id, 'x', 1, 1, 1, 0 FROM notebooks"
        " WHERE job_id = :j",
        job,
    )
    with lab.database.statement() as connection:
        connection.execute(text("ANALYZE packed_attempts, rank_outputs, notebooks, ranks"))
        for query, table in (
            (retention._OLD, "packed_attempts"),
            (retention._OVER, "packed_attempts"),
            (retention._OLD, "rank_outputs"),
            (retention._OVER, "rank_outputs"),
            (retention._OLD_NOTEBOOKS, "notebooks"),
        ):
            explain = text(f"EXPLAIN {query.text}")
            plan = "\n".join(row[0] for row in connection.execute(explain, asked))
            assert f"ix_{table}_kept" in plan, plan
            assert f"Seq Scan on {table}" not in plan, plan
    assert find_expired(lab.database, Retention(days=30, bytes=1 << 40), 200) == []
    assert len(find_expired(lab.database, Retention(bytes=1), 200)) == 200
