"""Counters in rows: each move once, whenever it is counted and whoever reads; and the platform's figures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text

from core.database import Database
from core.figures import read_figures
from core.jobs import stopping
from core.jobs.placing import Placement, place
from core.states import JobState
from core.tallies import BOUNDS, Tallies, count_marks, read_tallies
from tests.core.test_jobs import RANGE, Pool


def _read(database: Database) -> Tallies:
    with database.transaction() as connection:
        return read_tallies(connection)


def _marks(database: Database) -> int:
    with database.transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM job_marks")).scalar_one())


def test_each_move_is_counted_once_before_and_after_it_is_counted(database: Database) -> None:
    pool = Pool(database)
    before = _read(database)
    placed, cancelled = pool.submit(2), pool.submit(1)
    assert place(database, pool.node.pool_row, [Placement(placed, 1, (pool.node.id,) * 2)], RANGE)
    stopping.cancel(database, pool.account, cancelled)
    marked = _read(database)
    assert sum(marked.scheduling.counts.values()) == sum(before.scheduling.counts.values()) + 1
    key = (JobState.CANCELLED.value, "CANCELLED")
    assert marked.ended[key] == before.ended.get(key, 0) + 1
    assert set(marked.scheduling.counts) <= {*BOUNDS, float("inf")}
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: count_marks(database), range(8)))
    assert _marks(database) == 0
    assert _read(database) == marked


def test_count_outlives_the_job(database: Database) -> None:
    pool = Pool(database)
    job = pool.submit(1)
    stopping.cancel(database, pool.account, job)
    before = _read(database).ended
    stopping.delete(database, pool.account, job)
    count_marks(database)
    assert _read(database).ended == before


def test_reason_that_is_no_code_makes_no_series_of_its_own(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("INSERT INTO job_marks (kind, reason) VALUES ('FAILED', 'what a user chose')"))
    assert _read(database).ended["FAILED", "OTHER"] >= 1
    count_marks(database)
    assert all(reason.isupper() or not reason for _, reason in _read(database).ended)


def test_figures_count_slots_by_phase_and_steps_that_are_due(database: Database) -> None:
    pool = Pool(database)
    job, _ = pool.submit(3), pool.submit(2)
    place(database, pool.node.pool_row, [Placement(job, 1, (pool.node.id,) * 3)], RANGE)
    figures = read_figures(database)
    name = f"{pool.account}/default"
    node = next(each for each in figures.nodes if each.pool == name)
    assert node.held == {"reserved": 3, "running": 0, "ending": 0} and node.slots == 8
    assert not node.is_held and node.silent_seconds is None
    waiting = [each for each in figures.waiting if each.pool == name]
    assert [(each.jobs, each.ranks, each.priority) for each in waiting] == [(1, 2, "normal")]
    assert figures.due["launch"].count >= 1 and figures.due["launch"].oldest_seconds >= 0
    assert figures.ranks["PLACED"] >= 3 and pool.account in figures.worker_groups
