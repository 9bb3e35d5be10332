"""What is answered for output that is kept no longer: when it was removed, and why; no error, and no empty log."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api.download import Broken
from api.log_download import LogDownload, Wish
from api.log_feed import LogFeeds
from core.accounts import Caller
from core.database import Database
from core.jobs import job_moves
from core.jobs.ending import keep_running_notebook
from core.jobs.reading import get_job
from core.jobs.retention import Retention
from core.log_filter import EVERYTHING
from core.log_records import LogRecord
from core.logs import ChunkToStore, append_chunks
from core.object_store import ObjectStore
from core.states import JobState
from tests.api.conftest import ACCOUNT, Served
from tests.api.event_reader import reading
from worker.packer import Packer

START_NS = 1_767_225_600 * 10**9
SENTENCE = r"longshore: the output of attempt 1 was removed on \d{4}-\d\d-\d\d: output is kept for 30 days"
Create = Callable[..., str]


@pytest.fixture
def ended(database: Database, create: Create) -> str:
    """A job of two ranks that has printed forty lines, which are in the object store, and ended 40 days ago."""
    job_id = create(numRanks=2)
    with database.transaction() as connection:
        for state in (JobState.PENDING, JobState.RUNNING):
            assert job_moves.move_job(connection, job_id, 1, state, status="")
        connection.execute(
            text("UPDATE ranks SET state = 'RUNNING' WHERE job_id = :job AND rank = 1"), {"job": job_id}
        )
    for rank in (0, 1):
        lines = [LogRecord(START_NS + 2 * i + rank, 1, f"rank {rank} line {i}\n".encode()) for i in range(20)]
        append_chunks(database, [ChunkToStore(job_id, 1, rank, 0, lines, 0, 0)])
    keep_running_notebook(database, job_id, 1, 1, b"{}")
    with database.transaction() as connection:
        assert job_moves.move_job(connection, job_id, 1, JobState.COMPLETED, status="every rank exited 0")
    return job_id


@pytest.fixture
def pack(database: Database, object_store_url: str, ended: str) -> Callable[[], None]:
    """It goes to the object store, and is old."""
    store = ObjectStore(object_store_url)

    def step() -> None:
        Packer(database, store, compact_after_seconds=0).step()
        with database.transaction() as connection:
            for statement in (
                "UPDATE packed_attempts SET ended_at = now() - interval '40 days' WHERE job_id = :job",
                "UPDATE notebooks SET kept_at = now() - interval '40 days' WHERE job_id = :job",
                "UPDATE jobs SET ended_at = now() - interval '40 days' WHERE id = :job",
            ):
                assert connection.execute(text(statement), {"job": ended}).rowcount == 1

    return step


@pytest.fixture
def remove(database: Database, object_store_url: str, ended: str) -> Callable[[], None]:
    """Its retention is over, and its objects are gone."""
    store = ObjectStore(object_store_url)

    def step() -> None:
        packer = Packer(database, store, compact_after_seconds=0, retention=Retention(days=30))
        packer.step()
        packer.step()
        assert list(store.paths_below(f"logs/{ended}/")) == []

    return step


def page_of(client: httpx.Client, job_id: str, **params: Any) -> dict[str, Any]:
    answer = client.get(f"/batchJobs/{job_id}:getLogs", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("question", "rank"),
    [
        ({}, 0),
        ({"startFromHead": "true"}, 0),
        ({"ranks": "1"}, 1),
        ({"filter": "line 1", "stream": "stdout"}, 0),
        ({"regex": "^rank", "startTime": "2026-01-01T00:00:00.000000021Z", "attempt": 1}, 0),
    ],
)
def test_logs_of_what_was_removed_are_one_entry_that_says_so_and_page_tokens_end_there(
    admin: httpx.Client,
    ended: str,
    pack: Callable[[], None],
    remove: Callable[[], None],
    question: dict[str, str],
    rank: int,
) -> None:
    pack()
    asked = {**question, "pageSize": 3}
    before = page_of(admin, ended, **asked)
    assert len(before["entries"]) == 3 and before["nextPageToken"]
    remove()
    for more in ({}, {"pageToken": before["nextPageToken"]}):
        page = page_of(admin, ended, **asked, **more)
        (entry,) = page["entries"]
        assert re.fullmatch(SENTENCE, entry["message"])
        assert (entry["rank"], entry["stream"], page["nextPageToken"]) == (rank, "", "")
        assert entry["logTime"] > "2026-01-02"
    assert admin.get(f"/batchJobs/{ended}").json()["state"] == "COMPLETED"
    assert len(admin.get(f"/batchJobs/{ended}/ranks").json()["ranks"]) == 2
    assert page_of(admin, ended, readMask="message")["entries"] == [{"message": entry["message"]}]


def test_stream_of_what_was_removed_says_so_once_and_ends_after_any_id(
    served: Served, admin: httpx.Client, ended: str, pack: Callable[[], None], remove: Callable[[], None]
) -> None:
    def told(last_id: str = "") -> tuple[list[str], list[tuple[str, list[str]]]]:
        with reading(served.url, served.user_key, f"/batchJobs/{ended}:streamLogs", last_id) as reader:
            assert reader.closed.wait(20)
        assert reader.status == 200
        logs = [
            (event_id, [entry["message"] for entry in data["entries"]])
            for name, event_id, data in reader.events
            if name == "log"
        ]
        return reader.names(), logs

    pack()
    _, before = told()
    assert sum(len(lines) for _, lines in before) == 40
    remove()
    for last_id in ("", before[0][0]):
        names, logs = told(last_id)
        assert names == ["log", "end"]
        ((event_id, (message,)),) = logs
        assert message.startswith("longshore: the output of attempt 1 was removed on ")
        assert told(event_id) == (["end"], []), "it is told once"


def test_download_of_what_was_removed_is_not_found_and_says_why(
    admin: httpx.Client, ended: str, pack: Callable[[], None], remove: Callable[[], None]
) -> None:
    pack()
    assert admin.get(f"/batchJobs/{ended}:downloadLogs").status_code == 200
    remove()
    for params in ({}, {"stream": "stdout", "format": "gz"}, {"filter": "nothing"}):
        answer = admin.get(f"/batchJobs/{ended}:downloadLogs", params=params)
        assert (answer.status_code, answer.json()["code"]) == (404, 5)
        assert "attempt 1 was removed on" in answer.json()["message"]


def test_download_that_is_under_way_when_output_is_removed_has_no_proper_end(
    database: Database,
    object_store_url: str,
    served: Served,
    ended: str,
    pack: Callable[[], None],
    remove: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.log_download._ENTRIES", 5)
    pack()
    key_id = served.user_key.split("_")[1]
    caller = Caller(ACCOUNT, 0, "user", "user@acme.example", False, False, False, key_id)
    wish = Wish(1, None, EVERYTHING, since_ns=0, as_gzip=False)

    async def begun_before() -> list[bytes]:
        feeds, found = LogFeeds(database), list[bytes]()
        record = get_job(database, ACCOUNT, ended)
        one = LogDownload(database, ObjectStore(object_store_url), feeds, caller, record, wish)
        await one.begin()
        try:
            with pytest.raises(Broken, match="was removed on"):
                async for piece in one.pieces():
                    found.append(piece)
                    if len(found) == 2:
                        await asyncio.to_thread(remove)
        finally:
            await feeds.close()
        return found

    assert b"".join(asyncio.run(begun_before())).count(b"\n") == 10


def test_executed_notebook_that_was_removed_is_not_found_and_says_why(
    admin: httpx.Client, ended: str, pack: Callable[[], None], remove: Callable[[], None]
) -> None:
    path = f"/batchJobs/{ended}/ranks/1/notebook"
    pack()
    assert admin.get(path).json() == {}
    remove()
    answer = admin.get(path)
    assert answer.status_code == 404
    assert "the executed notebook of rank 1 was removed on" in answer.json()["message"]
    assert admin.get(path, params={"format": "html"}).status_code == 404
