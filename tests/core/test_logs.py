"""What a page of output costs: the same wherever it begins, and never more than one reading may examine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, column, event, insert, table

from core.database import Database
from core.log_filter import EVERYTHING, EXAMINED_BYTES, LineRegex, LogFilter
from core.log_records import LogRecord
from core.logs import ChunkToStore, LogPage, Position, append_chunks, read_page
from tests.core.placing_site import Site

CHUNKS = 3000
MILLISECOND = 10**6
#: of a rank's chunk, and of one record in it
START_NS = 10**18


@pytest.fixture(scope="module")
def long_log(database: Database) -> str:
    """Two ranks that print a line each millisecond, every line a chunk of its own."""
    job_id = Site(database).submit(2)
    for begin in range(0, CHUNKS, 500):
        chunks = [
            ChunkToStore(job_id, 1, rank, seq, [LogRecord(START_NS + seq * MILLISECOND, 1, b"x\n")], 0, 0)
            for rank in (0, 1)
            for seq in range(begin, begin + 500)
        ]
        append_chunks(database, chunks)
    with database.transaction() as connection:
        connection.exec_driver_sql("ANALYZE log_chunks")
        connection.exec_driver_sql("ANALYZE ranks")
    return job_id


@pytest.fixture
def no_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    def executemany(*_: object, **__: object) -> None:
        raise AssertionError("between statements of a pipeline a server waits without a time limit")

    # It begins one.
    monkeypatch.setattr(psycopg.Cursor, "executemany", executemany)


@pytest.mark.usefixtures("no_pipelines")
def test_rows_that_are_inserted_together_are_one_statement(database: Database) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql("CREATE TEMPORARY TABLE numbers (number int)")
        connection.execute(insert(table("numbers", column("number"))), [{"number": each} for each in range(3)])
        assert connection.exec_driver_sql("SELECT sum(number) FROM numbers").scalar() == 3


@pytest.mark.usefixtures("no_pipelines")
def test_chunks_that_are_stored_together_are_one_statement(database: Database) -> None:
    job_id = Site(database).submit(1)

    def store(*seqs: int) -> None:
        records = [LogRecord(START_NS, 1, b"x\n")]
        append_chunks(database, [ChunkToStore(job_id, 1, 0, seq, records, 0, 0) for seq in seqs])

    store(0, 1, 2)
    store(1, 2, 3)
    assert len(read_page(database, job_id, 1, ranks=None, limit=10, from_head=True).entries) == 4


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """Those that are executed meanwhile, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        seen.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def rows_touched(plan: dict[str, Any]) -> int:
    """Rows that a plan's scans of tables and indexes came upon, wanted or not."""
    own = 0
    if "Relation Name" in plan:
        seen = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        own = round((seen + plan.get("Rows Removed by Index Recheck", 0)) * plan["Actual Loops"])
    return own + sum(rows_touched(part) for part in plan.get("Plans", []))


def cost(database: Database, job_id: str, **asked: Any) -> tuple[LogPage, int, int]:
    """A page, how many statements it took, and how many rows these came upon."""
    with statements() as seen:
        page = read_page(database, job_id, 1, limit=10, **asked)
    rows = 0
    with database.transaction() as connection:
        for statement, parameters in seen:
            found = connection.exec_driver_sql(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
            ).scalar_one()
            plans = json.loads(found) if isinstance(found, str) else found
            rows += rows_touched(plans[0]["Plan"])
    return page, len(seen), rows


def places(from_head: bool) -> list[dict[int, Position] | None]:
    """Both ranks at the beginning of a reading, and far into it."""
    on_the_way = (1, CHUNKS // 2, CHUNKS - 20)
    if from_head:
        return [None, *({0: (seq, 0), 1: (seq, 0)} for seq in on_the_way)]
    return [
        None,
        *({0: (seq, 1 << 30), 1: (seq, 1 << 30)} for seq in on_the_way[::-1][:2]),
        {0: (19, 1), 1: (19, 1)},
    ]


@pytest.mark.parametrize("from_head", [True, False])
@pytest.mark.parametrize("ranks", [None, [0, 1]])
def test_page_costs_the_same_wherever_it_begins(
    database: Database, long_log: str, from_head: bool, ranks: list[int] | None
) -> None:
    costs = []
    for positions in places(from_head):
        page, statement_count, rows = cost(
            database, long_log, ranks=ranks, from_head=from_head, positions=positions
        )
        assert len(page.entries) == 10 and page.has_more
        costs.append((statement_count, rows))
    assert max(costs) <= (16, 40), costs
    assert max(count for count, _ in costs) - min(count for count, _ in costs) <= 1, costs


@pytest.mark.parametrize("from_head", [True, False])
@pytest.mark.parametrize("at", [0, 1, CHUNKS // 2, CHUNKS - 5, CHUNKS])
def test_page_since_a_time_begins_there_and_does_not_read_what_was_before(
    database: Database, long_log: str, from_head: bool, at: int
) -> None:
    since = START_NS + at * MILLISECOND
    end = {0: (at + 2, 1), 1: (at + 2, 1)}
    for positions in (None, None if from_head else end):
        page, statement_count, rows = cost(
            database, long_log, ranks=None, from_head=from_head, since_ns=since, positions=positions
        )
        assert statement_count <= 18 and rows <= 120
        times = [entry.record.time_ns for entry in page.entries]
        if from_head:
            expected = [START_NS + (at + index // 2) * MILLISECOND for index in range(10)]
            assert times == [each for each in expected if each < START_NS + CHUNKS * MILLISECOND]
        elif positions is end:
            assert len(times) == 2 * min(3, CHUNKS - at) and min(times, default=since) == since


def test_since_a_time_within_a_chunk_begins_within_it(database: Database) -> None:
    job_id = Site(database).submit()
    records = [LogRecord(START_NS + index, 1, b"%d" % index) for index in range(9)]
    for seq in range(3):
        append_chunks(database, [ChunkToStore(job_id, 1, 0, seq, records[3 * seq : 3 * seq + 3], 0, 0)])
    for since in range(11):
        for from_head in (True, False):
            page = read_page(
                database, job_id, 1, ranks=[0], limit=20, from_head=from_head, since_ns=START_NS + since
            )
            found = [int(entry.record.data) for entry in page.entries]
            assert found == list(range(since, 9))[:: 1 if from_head else -1] and not page.has_more


@pytest.mark.parametrize("from_head", [True, False])
@pytest.mark.parametrize("wanted", [LogFilter(contains=b"needle"), LogFilter(regex=LineRegex("^need"))])
def test_page_whose_filter_meets_little_ends_and_goes_on(
    database: Database, from_head: bool, wanted: LogFilter
) -> None:
    job_id = Site(database).submit(2)
    piece, count = b"x" * 16_000 + b"\n", 2 * EXAMINED_BYTES // 16_000
    for rank in (0, 1):
        for seq in range(0, count, 64):
            records = [LogRecord(START_NS + index, 1, piece) for index in range(seq, min(seq + 64, count))]
            if seq == 64 * (count // 128) and rank == 1:
                records[3] = LogRecord(records[3].time_ns, 1, b"needle\n")
            append_chunks(database, [ChunkToStore(job_id, 1, rank, seq // 64, records, 0, 0)])
    positions: Mapping[int, Position] | None = None
    pages: list[LogPage] = []
    while not pages or pages[-1].has_more:
        with statements() as seen:
            page = read_page(
                database, job_id, 1, ranks=None, limit=100, from_head=from_head, wanted=wanted, positions=positions
            )
        assert len(seen) < 3 + 2 * (EXAMINED_BYTES // (64 * 16_000) + 2), (
            "no more chunks than one page may examine"
        )
        pages.append(page)
        positions = page.positions
    assert len(pages) >= 4
    assert [entry.record.data for page in pages for entry in page.entries] == [b"needle\n"]
    assert not pages[0].entries, "found by those that came after"


def test_page_of_many_small_chunks_ends_although_they_hold_few_bytes(database: Database, long_log: str) -> None:
    page = read_page(
        database, long_log, 1, ranks=None, limit=10_000, from_head=True, wanted=LogFilter(contains=b"y")
    )
    assert page.has_more and not page.entries
    examined = sum(seq for seq, _ in page.positions.values())
    assert 0 < examined < 2 * CHUNKS
    whole = read_page(database, long_log, 1, ranks=None, limit=1000, from_head=True, wanted=EVERYTHING)
    assert len(whole.entries) == 1000
