"""Samples in rows: added to by anybody, bounded in size, read as one series; gone with their rank."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select, text

from core.database import Database
from core.errors import NotFound
from core.listing.paging import ListQuery
from core.models import RankUsage, UsagePart
from core.policies import RankFailurePolicy, RetryPolicy
from core.usage.reading import RankSeries, get_series, list_usage
from core.usage.series import UsagePoint, merged
from core.usage.storing import MOST_PARTS, PART_POINTS, RankSamples, append_samples
from tests.core.attempts_lab import RowsOnly

#: 2026-01-01T00:00:00Z, by the engines' clocks when `RowsOnly` starts ranks.
START_MS = 1_767_225_600_000
MOST_POINTS = (MOST_PARTS + 1) * PART_POINTS
ALL = 1_000_000


@pytest.fixture
def rows(database: Database) -> RowsOnly:
    return RowsOnly(database)


def point(seconds: float, *, cores: float = 0.5, memory: int = 1000) -> UsagePoint:
    """So long after the start, of a rank that is steadily busy."""
    done = int(seconds * 1000)
    return UsagePoint(START_MS + done, int(done * 1000 * cores), memory, done, done // 2, done // 4, done // 8)


def store(database: Database, job: str, rank: int, *points: UsagePoint, attempt: int = 1) -> None:
    append_samples(database, [RankSamples(job, attempt, rank, points, 1 << 30, True)])


def series(rows: RowsOnly, job: str, rank: int = 0, *, most: int = ALL, since_ms: int = 0) -> RankSeries:
    return get_series(rows.database, rows.account, job, rank, most=most, since_ms=since_ms)


def stored_parts(rows: RowsOnly, job: str) -> int:
    with rows.database.transaction() as connection:
        counted = select(func.count()).select_from(UsagePart).where(UsagePart.job_id == job)
        return connection.execute(counted).scalar_one()


def start_at(rows: RowsOnly, job: str) -> None:
    """Say that its ranks were started when their points begin."""
    moment = datetime.fromtimestamp(START_MS / 1000, UTC)
    with rows.database.transaction() as connection:
        connection.execute(text("UPDATE ranks SET started_at = :at WHERE job_id = :j"), {"at": moment, "j": job})


def test_samples_stored_in_pieces_by_whomever_are_one_series(rows: RowsOnly) -> None:
    job = rows.run(2)
    start_at(rows, job)
    points = [point(5 * n, memory=1000 + n % 7) for n in range(1, 100)]
    for begin in range(0, len(points), 13):
        # Another process may write again what this one did: each is stored once.
        store(rows.database, job, 0, *points[max(begin - 5, 0) : begin + 13])
    found = series(rows, job)
    assert list(found.points) == points and found.step_ms == 0
    assert found.before == UsagePoint(START_MS, 0, 0, 0, 0, 0, 0)
    usage = found.usage
    assert usage.cpu_seconds == pytest.approx(247.5) and usage.mean_cpu_cores == pytest.approx(0.5)
    assert (usage.memory_bytes, usage.peak_memory_bytes, usage.memory_limit_bytes) == (1001, 1006, 1 << 30)
    assert usage.network_rx_bytes == points[-1].rx_bytes and usage.block_write_bytes == points[-1].written_bytes
    assert usage.first_at == datetime.fromtimestamp(START_MS / 1000 + 5, UTC)
    assert stored_parts(rows, job) == len(points) // PART_POINTS
    assert list(series(rows, job, 1).points) == []


def test_series_from_a_time_on_begins_with_what_came_before(rows: RowsOnly) -> None:
    job = rows.run(1)
    points = [point(5 * n) for n in range(1, 50)]
    store(rows.database, job, 0, *points)
    found = series(rows, job, since_ms=points[40].time_ms)
    assert list(found.points) == points[40:] and found.before == points[39]
    assert list(series(rows, job, since_ms=points[-1].time_ms + 1).points) == []
    few = series(rows, job, most=10)
    assert len(few.points) <= 10 and list(few.points) == merged(points, few.step_ms)


def test_series_of_a_rank_that_runs_for_days_stays_bounded_and_loses_resolution_only(rows: RowsOnly) -> None:
    job = rows.run(1)
    points = [point(5 * n, memory=n % 997) for n in range(1, 9 * MOST_POINTS)]
    batch = PART_POINTS + 7
    for begin in range(0, len(points), batch):
        store(rows.database, job, 0, *points[begin : begin + batch])
        assert stored_parts(rows, job) <= MOST_PARTS + 1
    found = series(rows, job)
    assert MOST_POINTS // 3 < len(found.points) <= MOST_POINTS
    assert found.step_ms >= 40_000
    assert found.points[-1].cpu_us == points[-1].cpu_us
    assert max(each.memory_bytes for each in found.points) == found.usage.peak_memory_bytes == 996
    times = [each.time_ms for each in found.points]
    assert times == sorted(set(times)) and set(found.points) & set(points)
    size = "SELECT sum(length(points)) FROM usage_parts WHERE job_id = :j"
    assert rows.execute(size, job)[0][0] < 60_000


def test_usage_of_a_job_is_that_of_its_ranks_and_their_sum(rows: RowsOnly) -> None:
    job = rows.run(4)
    start_at(rows, job)
    append_samples(
        rows.database,
        [
            RankSamples(job, 1, rank, [point(10, cores=rank, memory=100 * rank)], 500, rank != 2)
            for rank in (1, 2, 3)
        ],
    )
    page, total = list_usage(rows.database, rows.account, job, ListQuery(3))
    assert [each.rank for each in page.items] == [0, 1, 2] and page.total == 4
    assert (page.items[0].last_at, page.items[0].cpu_seconds, page.items[0].mean_cpu_cores) == (None, 0, None)
    assert [each.has_network for each in page.items] == [False, True, False]
    assert (total.attempt, total.sampled_ranks) == (1, 3)
    assert total.cpu_seconds == pytest.approx(60) and total.mean_cpu_cores == pytest.approx(6)
    assert (total.max_peak_memory_bytes, total.sum_peak_memory_bytes, total.memory_bytes) == (300, 600, 600)
    assert total.network_rx_bytes == 30_000


def test_usage_is_of_an_attempt_by_default_of_the_latest(rows: RowsOnly) -> None:
    job = rows.run(1, rank_failure_policy=RankFailurePolicy.RESTART_ALL, retry_policy=RetryPolicy(max_attempts=2))
    store(rows.database, job, 0, point(5))
    rows.exit(job, 0, 3)
    rows.release(job, 0)
    rows.rerun(job)
    assert list(series(rows, job).points) == []
    store(rows.database, job, 0, point(60), attempt=2)
    assert list(series(rows, job).points) == [point(60)]
    first = get_series(rows.database, rows.account, job, 0, attempt=1, most=10)
    assert list(first.points) == [point(5)]
    assert list_usage(rows.database, rows.account, job, ListQuery(9), attempt=1)[1].cpu_seconds == 2.5


def test_usage_of_another_account_or_of_a_rank_that_is_not_there_is_not_found(rows: RowsOnly) -> None:
    job = rows.run(1)
    for account, rank in ((rows.account, 1), ("somebody", 0)):
        with pytest.raises(NotFound):
            get_series(rows.database, account, job, rank, most=10)
    with pytest.raises(NotFound):
        list_usage(rows.database, "somebody", job, ListQuery(9))


def test_samples_of_ranks_that_are_gone_or_being_deleted_take_nothing_from_the_others(rows: RowsOnly) -> None:
    here, leaving = rows.run(1), rows.run(1)
    store(rows.database, leaving, 0, point(5))
    with rows.database.transaction() as connection:
        connection.execute(text("DELETE FROM jobs WHERE id = :j"), {"j": leaving})
        # Not waited for: whoever deletes might be waiting for what is locked here.
        written = threading.Thread(
            target=append_samples,
            args=(
                rows.database,
                [
                    RankSamples(here, 1, 0, [point(5)], 1, True),
                    RankSamples(leaving, 1, 0, [point(10)], 1, True),
                    RankSamples("never-was", 1, 0, [point(10)], 1, True),
                ],
            ),
        )
        written.start()
        written.join(10)
        assert not written.is_alive()
    assert list(series(rows, here).points) == [point(5)]
    with rows.database.transaction() as connection:
        left = select(func.count()).select_from(RankUsage).where(RankUsage.job_id != here)
        assert connection.execute(left.where(RankUsage.job_id.in_([leaving, "never-was"]))).scalar_one() == 0


def test_two_who_write_the_same_rank_at_once_do_not_wait_for_each_other(rows: RowsOnly) -> None:
    job = rows.run(1)
    store(rows.database, job, 0, point(5))
    with rows.database.transaction() as connection:
        connection.execute(text("SELECT 1 FROM rank_usage WHERE job_id = :j FOR UPDATE"), {"j": job})
        store(rows.database, job, 0, point(10))
    assert list(series(rows, job).points) == [point(5)]
    store(rows.database, job, 0, point(15))
    assert list(series(rows, job).points) == [point(5), point(15)]
