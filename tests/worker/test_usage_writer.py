"""Samples on their way to rows while the database is there, and while it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from core.database import Database
from core.usage.reading import get_series
from core.usage.series import UsagePoint
from tests.core.attempts_lab import RowsOnly
from worker.engine import RankKey, Usage
from worker.supervisor.usage_writer import UsageWriter

START_MS = 1_767_225_600_000
Make = Callable[[], UsageWriter]


@pytest.fixture
def rows(database: Database) -> RowsOnly:
    return RowsOnly(database)


def usage(seconds: int) -> Usage:
    return Usage(UsagePoint(START_MS + 1000 * seconds, seconds, seconds, 0, 0, 0, 0), 100, has_network=True)


def seconds_of(rows: RowsOnly, job: str) -> list[int]:
    found = get_series(rows.database, rows.account, job, 0, most=10_000)
    return [(point.time_ms - START_MS) // 1000 for point in found.points]


def test_samples_of_a_rank_that_has_ended_are_written_soon_and_of_others_later(rows: RowsOnly) -> None:
    ended, running = rows.run(1), rows.run(1)

    async def work() -> None:
        writer = UsageWriter(rows.database)
        for job in (ended, running):
            writer.note(RankKey(job, 1, 0), usage(5))
        writer.note(RankKey(ended, 1, 0), usage(7))
        writer.end(RankKey(ended, 1, 0))
        writer.end(RankKey("unheard-of", 1, 0))
        writing = asyncio.create_task(writer.run())
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(seconds_of, rows, ended):
                await asyncio.sleep(0.05)
        writing.cancel()
        await asyncio.wait({writing})
        assert seconds_of(rows, ended) == [5, 7] and seconds_of(rows, running) == []
        await writer.write_all()

    asyncio.run(work())
    assert seconds_of(rows, running) == [5]


def test_samples_wait_for_a_database_that_is_away_and_stay_few(rows: RowsOnly) -> None:
    job = rows.run(1)
    key = RankKey(job, 1, 0)

    async def work() -> None:
        nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing")
        writer = UsageWriter(nowhere)
        for second in range(300):
            writer.note(key, usage(second))
            if second % 50 == 0:
                await writer.write_all()
        writer._database = rows.database
        await writer.write_all()
        nowhere.close()

    asyncio.run(work())
    found = seconds_of(rows, job)
    assert 10 <= len(found) <= 61 and found[-1] == 299 and found == sorted(found)


def test_with_more_ranks_than_there_is_time_for_each_has_its_turn_less_often(rows: RowsOnly) -> None:
    writer = UsageWriter(rows.database)
    writer.note_watched(1, 600)
    writer.note_watched(2, 5000)
    writer.note_watched(2, 400)
    assert writer.least_period_seconds == pytest.approx(5)
    writer.note_watched(1, 0)
    assert writer.least_period_seconds == pytest.approx(2)
