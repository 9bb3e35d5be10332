"""getLogs and streamLogs of jobs whose output has gone to the object store: as if it had not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from core.database import Database
from core.jobs import job_moves
from core.log_records import LogRecord
from core.logs import ChunkToStore, append_chunks
from core.object_store import ObjectStore
from core.settings import Settings
from core.states import JobState
from tests.api.conftest import ACCOUNT, Served, client_of, serving
from tests.api.event_reader import reading
from worker.packer import Packer

START_NS = 1_767_225_600 * 10**9
Create = Callable[..., str]


@pytest.fixture
def ended(database: Database, create: Create) -> str:
    """A job of two ranks that has printed forty lines, in chunks of three, and has ended."""
    job_id = create(numRanks=2)
    with database.transaction() as connection:
        for state in (JobState.PENDING, JobState.RUNNING):
            assert job_moves.move_job(connection, job_id, 1, state, status="")
    for rank in (0, 1):
        lines = [LogRecord(START_NS + 2 * i + rank, 1, f"rank {rank} line {i}\n".encode()) for i in range(20)]
        for seq, at in enumerate(range(0, 20, 3)):
            append_chunks(database, [ChunkToStore(job_id, 1, rank, seq, lines[at : at + 3], 0, 0)])
    with database.transaction() as connection:
        assert job_moves.move_job(connection, job_id, 1, JobState.COMPLETED, status="every rank exited 0")
    return job_id


@pytest.fixture
def pack(database: Database, object_store_url: str) -> Callable[[], None]:
    """All that is due goes to the object store."""
    store = ObjectStore(object_store_url)

    def step() -> None:
        Packer(database, store, compact_after_seconds=0).step()
        with database.transaction() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM log_chunks").scalar_one() == 0

    return step


def _page(client: httpx.Client, job_id: str, **params: Any) -> dict[str, Any]:
    answer = client.get(f"/batchJobs/{job_id}:getLogs", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _pages(client: httpx.Client, job_id: str, **params: Any) -> list[dict[str, Any]]:
    entries = []
    while True:
        page = _page(client, job_id, **params)
        entries += page["entries"]
        params["pageToken"] = page["nextPageToken"]
        if not params["pageToken"]:
            return entries


@pytest.mark.parametrize(
    "question",
    [
        {"startFromHead": "true"},
        {"startFromHead": "false"},
        {"ranks": "1"},
        {"filter": "line 1"},
        {"startFromHead": "true", "startTime": "2026-01-01T00:00:00.000000021Z"},
    ],
)
def test_page_tokens_of_before_go_on_after_it_without_gap_or_repeat(
    admin: httpx.Client, ended: str, pack: Callable[[], None], question: dict[str, str]
) -> None:
    asked = {**question, "pageSize": 7}
    whole = _pages(admin, ended, **asked)
    assert len(whole) > 7
    first = _page(admin, ended, **asked)
    pack()
    rest = _pages(admin, ended, **asked, pageToken=first["nextPageToken"])
    assert [*first["entries"], *rest] == whole
    assert _pages(admin, ended, **asked) == whole


def test_stream_goes_on_after_any_of_its_events_of_before(
    served: Served, admin: httpx.Client, ended: str, pack: Callable[[], None]
) -> None:
    def told(last_id: str = "") -> list[tuple[str, list[str]]]:
        with reading(served.url, served.user_key, f"/batchJobs/{ended}:streamLogs", last_id, ranks="0") as reader:
            assert reader.closed.wait(20)
        return [
            (event_id, [entry["message"] for entry in data["entries"]])
            for name, event_id, data in reader.events
            if name == "log"
        ]

    before = told()
    assert [line for _, lines in before for line in lines] == [f"rank 0 line {i}" for i in range(20)]
    pack()
    assert [line for _, lines in told() for line in lines] == [f"rank 0 line {i}" for i in range(20)]
    seen: list[str] = []
    for event_id, lines in before:
        seen += lines
        assert [line for _, more in told(event_id) for line in more] == [
            f"rank 0 line {i}" for i in range(len(seen), 20)
        ]


def test_api_that_has_no_store_or_lost_its_objects_says_so_and_answers_no_empty_log(
    admin: httpx.Client,
    served: Served,
    settings: Settings,
    object_store_url: str,
    ended: str,
    pack: Callable[[], None],
) -> None:
    pack()
    with (
        serving(settings.model_copy(update={"object_store_url": ""})) as url,
        client_of(f"{url}/v1/accounts/{ACCOUNT}", served.admin_key) as without,
    ):
        answer = without.get(f"/batchJobs/{ended}:getLogs")
    assert (answer.status_code, answer.json()["code"]) == (503, 14)
    assert "LONGSHORE_OBJECT_STORE_URL" in answer.json()["message"]
    store = ObjectStore(object_store_url)
    store.remove(list(store.paths_below(f"logs/{ended}/")))
    answer = admin.get(f"/batchJobs/{ended}:getLogs")
    assert (answer.status_code, answer.headers.get("Retry-After") is not None) == (503, True)
