"""getLogs and executed notebooks: order, pages, filters, and bytes that are not text."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from core.database import Database
from core.jobs import job_moves, rank_moves
from core.log_filter import EXAMINED_BYTES
from core.log_records import LogRecord
from core.logs import ChunkToStore, append_chunks
from core.models import Notebook
from core.states import JobState
from tests.api.conftest import ACCOUNT

START_NS = 1_767_225_600 * 10**9  # 2026-01-01T00:00:00Z
Create = Callable[..., str]


@pytest.fixture
def logged(database: Database, create: Create) -> str:
    """A job of two ranks with ten lines each, in chunks of three, one line each ten milliseconds in turn."""
    job_id = create(numRanks=2)
    for rank in (0, 1):
        lines = [
            LogRecord(START_NS + (2 * i + rank) * 10_000_000, 1, f"rank {rank} line {i}\n".encode())
            for i in range(10)
        ]
        for seq, at in enumerate(range(0, 10, 3)):
            append_chunks(database, [ChunkToStore(job_id, 1, rank, seq, lines[at : at + 3], 0, 0)])
    return job_id


def _pages(admin: httpx.Client, job_id: str, **params: Any) -> list[list[dict[str, Any]]]:
    pages = []
    while True:
        answer = admin.get(f"/batchJobs/{job_id}:getLogs", params=params)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json()["entries"])
        params["pageToken"] = answer.json()["nextPageToken"]
        if not params["pageToken"]:
            return pages


def _lines(pages: list[list[dict[str, Any]]]) -> list[str]:
    return [entry["message"] for page in pages for entry in page]


IN_ORDER = [f"rank {i % 2} line {i // 2}" for i in range(20)]


def test_get_logs_and_notebook_of_an_attempt_are_its_own(
    admin: httpx.Client, database: Database, logged: str
) -> None:
    with database.transaction() as connection:
        job_moves.move_job(connection, logged, 1, JobState.PENDING, status="")
        job_moves.requeue_job(connection, logged, 1, reason="X", status="again", delay_seconds=0, charged=True)
        rank_moves.insert_ranks(connection, logged, 2, 2)
        for attempt in (1, 2):
            content = zlib.compress(b'{"attempt": %d}' % attempt)
            of_rank = {"job_id": logged, "attempt": attempt, "rank": 0, "account_id": ACCOUNT}
            connection.execute(insert(Notebook).values(**of_rank, content=content))
    append_chunks(database, [ChunkToStore(logged, 2, 0, 0, [LogRecord(START_NS, 1, b"second\n")], 0, 0)])
    assert admin.get(f"/batchJobs/{logged}").json()["attempt"] == 2
    assert _lines(_pages(admin, logged, startFromHead="true")) == ["second"]
    assert _lines(_pages(admin, logged, startFromHead="true", attempt=1, pageSize=7)) == IN_ORDER
    assert _pages(admin, logged, attempt=3) == [[]]
    notebook = f"/batchJobs/{logged}/ranks/0/notebook"
    found = [admin.get(notebook, params=params).json()["attempt"] for params in ({}, {"attempt": 1})]
    assert found == [2, 1]
    assert admin.get(notebook, params={"attempt": 3}).status_code == 404
    for path in (f"/batchJobs/{logged}:getLogs", notebook):
        assert admin.get(path, params={"attempt": -1}).status_code == 400
    token = admin.get(f"/batchJobs/{logged}:getLogs", params={"attempt": 1, "pageSize": 1}).json()["nextPageToken"]
    answer = admin.get(f"/batchJobs/{logged}:getLogs", params={"pageSize": 1, "pageToken": token})
    assert answer.status_code == 400, "the token is of another question"


@pytest.mark.parametrize("page_size", [1, 3, 7, 20, 100])
def test_get_logs_by_pages_gives_every_line_once_in_order(
    admin: httpx.Client, logged: str, page_size: int
) -> None:
    forward = _pages(admin, logged, pageSize=page_size, startFromHead="true")
    assert _lines(forward) == IN_ORDER and all(len(page) <= page_size for page in forward)
    assert _lines(_pages(admin, logged, pageSize=page_size)) == IN_ORDER[::-1]


@pytest.mark.parametrize("ranks", [{"ranks": "1"}, {"ranks": ["1", "1"]}, {"ranks": "1,1"}])
def test_get_logs_of_one_rank_gives_its_lines_only(
    admin: httpx.Client, logged: str, ranks: dict[str, Any]
) -> None:
    pages = _pages(admin, logged, pageSize=4, startFromHead="true", **ranks)
    assert _lines(pages) == IN_ORDER[1::2]
    assert {entry["rank"] for page in pages for entry in page} == {1}


@pytest.mark.parametrize("ranks", [{"ranks": "0,1"}, {"ranks": ["0", "1"]}, {"ranks": ""}])
def test_get_logs_of_ranks_in_either_spelling_gives_them_all(
    admin: httpx.Client, logged: str, ranks: dict[str, Any]
) -> None:
    assert _lines(_pages(admin, logged, startFromHead="true", **ranks)) == IN_ORDER


def test_get_logs_with_a_filter_gives_the_lines_that_hold_it(admin: httpx.Client, logged: str) -> None:
    assert _lines(_pages(admin, logged, pageSize=1, filter="line 4")) == ["rank 1 line 4", "rank 0 line 4"]
    assert _lines(_pages(admin, logged, filter="LINE")) == []


@pytest.fixture
def mixed(database: Database, create: Create) -> str:
    """A job that prints on both streams, and whose output was cut."""
    job_id = create()
    said = [(1, b"epoch 1 loss 0.5\n"), (2, b"warning: hot\n"), (1, b"epoch 2 loss 0.25\xff\n"), (3, b"cut\n")]
    records = [LogRecord(START_NS + index, stream, data) for index, (stream, data) in enumerate(said)]
    append_chunks(database, [ChunkToStore(job_id, 1, 0, 0, records, 0, 0)])
    return job_id


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, [0, 1, 2, 3]),
        ({"stream": ""}, [0, 1, 2, 3]),
        ({"stream": "stdout"}, [0, 2]),
        ({"stream": "stderr"}, [1]),
        ({"regex": r"loss 0\.\d$"}, [0]),
        ({"regex": r"(?i)LOSS 0\.\d+\C?$"}, [0, 2]),
        ({"regex": "^(warning|cut)"}, [1, 3]),
        ({"regex": "o", "filter": "2"}, [2]),
        ({"regex": "o", "filter": "hot", "stream": "stdout"}, []),
        ({"regex": ""}, [0, 1, 2, 3]),
    ],
)
def test_get_logs_chooses_by_stream_and_regex_and_says_the_stream(
    admin: httpx.Client, mixed: str, params: dict[str, str], found: list[int]
) -> None:
    entries = [
        entry for page in _pages(admin, mixed, pageSize=1, startFromHead="true", **params) for entry in page
    ]
    messages = ["epoch 1 loss 0.5", "warning: hot", "epoch 2 loss 0.25\ufffd", "cut"]
    streams = ["stdout", "stderr", "stdout", ""]
    assert [entry["message"] for entry in entries] == [messages[index] for index in found]
    assert [entry["stream"] for entry in entries] == [streams[index] for index in found]


def test_get_logs_whose_filter_meets_nothing_in_a_long_log_answers_empty_pages_that_go_on(
    admin: httpx.Client, database: Database, create: Create
) -> None:
    job_id, line = create(), b"x" * 16_000 + b"\n"
    for seq in range(40):
        records = [LogRecord(START_NS + seq * 64 + index, 1, line) for index in range(64)]
        append_chunks(database, [ChunkToStore(job_id, 1, 0, seq, records, 0, 0)])
    for params in ({"filter": "needle"}, {"regex": "^need"}, {"stream": "stderr"}):
        pages = _pages(admin, job_id, **params)
        assert len(pages) >= 40 * 64 * 16_000 // EXAMINED_BYTES and not _lines(pages)
    record = LogRecord(START_NS + 40 * 64, 2, b"needle\n")
    append_chunks(database, [ChunkToStore(job_id, 1, 0, 40, [record], 0, 0)])
    for params in ({"filter": "needle"}, {"regex": "^need"}, {"stream": "stderr"}):
        pages = _pages(admin, job_id, startFromHead="true", **params)
        assert not pages[0] and _lines(pages) == ["needle"]
        assert _lines(_pages(admin, job_id, **params)[:1]) == ["needle"]


@pytest.mark.timeout(120)
def test_get_logs_with_an_expression_made_to_hang_is_answered(
    admin: httpx.Client, database: Database, create: Create
) -> None:
    job_id, line = create(), b"ab" * 8191 + b"!\n"
    for seq in range(32):
        records = [LogRecord(START_NS + seq * 16 + index, 1, line) for index in range(16)]
        append_chunks(database, [ChunkToStore(job_id, 1, 0, seq, records, 0, 0)])
    for regex in ("(a+)+$", "([ab]*)*c", "(.*.*.*.*.*)c", "(?:(?:a|b)?){900}c"):
        answer = admin.get(f"/batchJobs/{job_id}:getLogs", params={"regex": regex})
        assert answer.status_code == 200 and answer.json()["entries"] == []
    assert answer.json()["nextPageToken"], "the last of them is slow: it ended before it had read all"


def test_get_logs_since_a_time_in_another_zone_begins_there(admin: httpx.Client, logged: str) -> None:
    page = _pages(admin, logged, startTime="2026-01-01T02:00:00.18+02:00", start_from_head="true")
    assert page[0][0]["logTime"] == "2026-01-01T00:00:00.180Z"
    assert _lines(page) == IN_ORDER[18:]
    assert _lines(_pages(admin, logged, startTime="9999-01-01T00:00:00Z")) == []
    assert len(_lines(_pages(admin, logged, startTime="0001-01-01T00:00:00Z"))) == 20


def test_get_logs_of_bytes_that_are_not_text_replaces_them(
    admin: httpx.Client, database: Database, create: Create
) -> None:
    job_id = create()
    records = [
        LogRecord(START_NS + 1, 1, b"a\xffb\0c\n"),
        LogRecord(START_NS + 2, 2, b"\r\n"),
        LogRecord(START_NS + 3, 1, b"no newline"),
        LogRecord(START_NS + 4, 1, b"two\n\n"),
    ]
    append_chunks(database, [ChunkToStore(job_id, 1, 0, 0, records, 0, 0)])
    entries = _pages(admin, job_id, startFromHead="true")[0]
    assert [entry["message"] for entry in entries] == ["a\ufffdb\0c", "\r", "no newline", "two\n"]
    assert entries[0] == {
        "logTime": "2026-01-01T00:00:00.000000001Z",
        "rank": 0,
        "message": "a\ufffdb\0c",
        "stream": "stdout",
    }


def test_get_logs_of_a_job_without_output_is_an_empty_page(admin: httpx.Client, create: Create) -> None:
    answer = admin.get(f"/batchJobs/{create()}:getLogs")
    assert answer.json() == {"entries": [], "nextPageToken": ""}


@pytest.mark.parametrize(
    ("params", "status", "named"),
    [
        ({"ranks": "2"}, 400, "ranks"),
        ({"ranks": "-1"}, 400, "ranks"),
        ({"ranks": "a"}, 400, "ranks"),
        ({"ranks": "0,,1"}, 400, "ranks"),
        ({"pageSize": "-1"}, 400, "pageSize"),
        ({"startTime": "2026-01-01"}, 400, "startTime"),
        ({"startTime": "2026-01-01T00:00:00"}, 400, "startTime"),
        ({"startTime": "2026-02-30T00:00:00Z"}, 400, "startTime"),
        ({"startTime": "1767225600"}, 400, "startTime"),
        ({"startFromHead": "maybe"}, 400, "startFromHead"),
        ({"filter": "a\0"}, 400, "filter"),
        ({"stream": "stdin"}, 400, "stream: must be stdout or stderr"),
        ({"stream": "STDOUT"}, 400, "stream"),
        ({"regex": "a("}, 400, "regex: is not a regular expression of RE2's syntax: missing )"),
        ({"regex": "(?=a)"}, 400, "regex"),
        ({"regex": "a" * 1001}, 400, "regex: has 1001 characters; at most 1000"),
        ({"regex": r"\pL{300}"}, 400, "regex: is"),
        ({"regex": "a\0"}, 400, "regex"),
        ({"readMask": "entries.text"}, 400, "readMask"),
        ({"pageSize": "100000"}, 200, ""),
    ],
)
def test_get_logs_with_a_parameter_is_served_or_refused_naming_it(
    admin: httpx.Client, logged: str, params: dict[str, str], status: int, named: str
) -> None:
    answer = admin.get(f"/batchJobs/{logged}:getLogs", params=params)
    assert answer.status_code == status
    assert named in answer.json().get("message", "")


@pytest.mark.parametrize(
    "change",
    [
        {"ranks": "0"},
        {"filter": "a"},
        {"stream": "stdout"},
        {"regex": "a"},
        {"startFromHead": "true"},
        {"pageSize": "3"},
    ],
)
def test_get_logs_with_a_token_of_another_query_is_refused(
    admin: httpx.Client, logged: str, create: Create, change: dict[str, str]
) -> None:
    path, params = f"/batchJobs/{logged}:getLogs", {"pageSize": "2"}
    params["pageToken"] = admin.get(path, params=params).json()["nextPageToken"]
    assert admin.get(path, params=params).status_code == 200
    assert admin.get(path, params={**params, **change}).status_code == 400
    assert admin.get(f"/batchJobs/{create()}:getLogs", params=params).status_code == 400


def test_notebook_is_answered_as_its_bytes(admin: httpx.Client, database: Database, create: Create) -> None:
    job_id, content = create(numRanks=2), b'{"cells": []}\n'
    with database.transaction() as connection:
        of_rank = {"job_id": job_id, "attempt": 1, "rank": 1, "account_id": ACCOUNT}
        connection.execute(insert(Notebook).values(**of_rank, content=zlib.compress(content)))
    path = f"/batchJobs/{job_id}/ranks/1/notebook"
    for params in ({}, {"format": "ipynb"}):
        answer = admin.get(path, params=params)
        assert (answer.content, answer.headers["Content-Type"]) == (content, "application/x-ipynb+json")
    assert admin.get(path, params={"format": "pdf"}).status_code == 400
    for rank in ("0", "2", "x", "-1", "99999999999"):
        assert admin.get(f"/batchJobs/{job_id}/ranks/{rank}/notebook").status_code == 404
