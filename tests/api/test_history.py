"""Ranks, events, PATCH and batchDelete as a client sees them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from core.database import Database
from core.jobs import job_moves, rank_moves
from core.models import Job
from core.states import JobState, RankState
from tests.api.conftest import ACCOUNT

Create = Callable[..., str]


@pytest.fixture
def key_of(database: Database) -> Callable[[str], str]:
    def find(job_id: str) -> str:
        with database.transaction() as connection:
            found: str = connection.execute(select(Job.id).where(Job.batch_job_id == job_id)).scalar_one()
            return found

    return find


@pytest.fixture
def failed(database: Database, create: Create, key_of: Callable[[str], str]) -> str:
    """A job of three ranks, of which rank 1 was killed and the job failed."""
    job_id = create(numRanks=3)
    key = key_of(job_id)
    with database.transaction() as connection:
        rank_moves.move_ranks(
            connection,
            key,
            1,
            RankState.FAILED,
            ranks=[1],
            sources=frozenset(RankState),
            reason="OUT_OF_MEMORY",
            message="Killed",
            columns={
                "exit_code": 137,
                "signal": 9,
                "oom_killed": True,
                "ended_at": datetime(2026, 1, 2, tzinfo=UTC),
                "last_lines": "working\nKilled\n",
            },
        )
        job_moves.move_job(connection, key, 1, JobState.FAILED, reason="RANK_FAILED", status="rank 1 failed")
    return job_id


def test_ranks_of_a_job_are_listed_in_order_with_what_became_of_them(admin: httpx.Client, failed: str) -> None:
    page = admin.get(f"/batchJobs/{failed}/ranks").json()
    assert [rank["rank"] for rank in page["ranks"]] == [0, 1, 2] and page["totalSize"] == 3
    assert page["ranks"][1] == {
        "name": f"accounts/{ACCOUNT}/batchJobs/{failed}/ranks/1",
        "rank": 1,
        "attempt": 1,
        "state": "FAILED",
        "nodeId": "",
        "containerId": "",
        "exitCode": 137,
        "signal": 9,
        "outOfMemory": True,
        "reason": "OUT_OF_MEMORY",
        "status": "Killed",
        "lastLines": ["working", "Killed"],
        "logBytes": "0",
        "placeTime": None,
        "startTime": None,
        "endTime": "2026-01-02T00:00:00Z",
    }
    assert admin.get(f"/batchJobs/{failed}/ranks/1").json() == page["ranks"][1]
    assert page["ranks"][0]["exitCode"] is None and page["ranks"][0]["signal"] is None


def test_ranks_can_be_filtered_ordered_and_paged(admin: httpx.Client, failed: str) -> None:
    def ranks(**params: Any) -> list[int]:
        return [rank["rank"] for rank in admin.get(f"/batchJobs/{failed}/ranks", params=params).json()["ranks"]]

    assert ranks(filter="state = FAILED AND exit_code > 128") == [1]
    assert ranks(filter="signal = 9") == [1]
    assert ranks(filter="NOT outOfMemory = true", orderBy="rank desc") == [2, 0]
    first = admin.get(f"/batchJobs/{failed}/ranks", params={"pageSize": 2}).json()
    assert ranks(pageSize=2, pageToken=first["nextPageToken"]) == [2]
    assert ranks(attempt=1) == [0, 1, 2] and ranks(attempt=2) == []
    masked = admin.get(f"/batchJobs/{failed}/ranks/1", params={"readMask": "exit_code,state"}).json()
    assert masked == {"exitCode": 137, "state": "FAILED"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ranks/3", 404),
        ("/ranks/-1", 404),
        ("/ranks/x", 404),
        ("/ranks/99999999999", 404),
        ("/ranks/0?attempt=7", 404),
        ("/ranks/0?attempt=-1", 400),
        ("/ranks?attempt=x", 400),
        ("/ranks?orderBy=envVars", 400),
        ("/events?filter=nothing%3D1", 400),
    ],
)
def test_history_that_is_not_there_is_refused(admin: httpx.Client, failed: str, path: str, status: int) -> None:
    assert admin.get(f"/batchJobs/{failed}{path}").status_code == status
    assert admin.get(f"/batchJobs/nothing{path.partition('?')[0]}").status_code == 404


def test_events_tell_every_move_in_order(admin: httpx.Client, failed: str) -> None:
    page = admin.get(f"/batchJobs/{failed}/events").json()
    told = [(event["rank"], event["state"]) for event in page["events"]]
    assert told == [(None, "QUEUED"), (1, "FAILED"), (None, "FAILED")] and page["totalSize"] == 3
    assert page["events"][2]["status"] == "rank 1 failed" and page["events"][2]["reason"] == "RANK_FAILED"
    of_ranks = admin.get(f"/batchJobs/{failed}/events", params={"filter": "rank >= 0"}).json()["events"]
    assert [event["rank"] for event in of_ranks] == [1]


def test_update_changes_the_fields_of_its_body(admin: httpx.Client, create: Create) -> None:
    path = f"/batchJobs/{create(displayName='a')}"
    before = admin.get(path).json()
    answer = admin.patch(path, json={"display_name": "b", "name": before["name"]})
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert job["displayName"] == "b" and job["shared"] is False and job["updateTime"] > before["updateTime"]
    assert {k: v for k, v in job.items() if k not in ("displayName", "updateTime")} == {
        k: v for k, v in before.items() if k not in ("displayName", "updateTime")
    }
    assert admin.patch(path, json={"shared": True}).json()["shared"] is True
    assert admin.get(path).json()["displayName"] == "b"


def test_update_with_a_mask_changes_what_it_names(admin: httpx.Client, create: Create) -> None:
    path = f"/batchJobs/{create(displayName='a', shared=True)}"
    body = {"displayName": "b", "shared": False}
    job = admin.patch(path, json=body, params={"updateMask": "shared"}).json()
    assert (job["displayName"], job["shared"]) == ("a", False)
    job = admin.patch(path, json={}, params={"update_mask": "display_name"}).json()
    assert job["displayName"] == ""
    job = admin.patch(path, json={"displayName": "c"}, params={"updateMask": "*"}).json()
    assert (job["displayName"], job["shared"]) == ("c", False)
    assert admin.patch(path, json={}).json()["displayName"] == "c"


@pytest.mark.parametrize(
    ("body", "mask", "named"),
    [
        ({"numRanks": 2}, "", ["numRanks"]),
        ({"image_ref": "a", "envVars": {}}, "", ["envVars", "imageRef"]),
        ({"state": "COMPLETED", "createTime": "x"}, "", ["createTime", "state"]),
        ({"displayName": "x" * 64}, "", ["displayName"]),
        ({"shared": "yes"}, "", ["shared"]),
        ({"nothing": 1}, "", ["nothing"]),
        ({"displayName": "b"}, "displayName,numRanks", ["numRanks"]),
        ({"displayName": "b"}, "state", ["state"]),
        ({"displayName": "b"}, "displayNam", ["updateMask"]),
        ([], "", ["body"]),
    ],
)
def test_update_of_what_cannot_change_names_it(
    admin: httpx.Client, create: Create, body: Any, mask: str, named: list[str]
) -> None:
    path = f"/batchJobs/{create(displayName='a')}"
    before = admin.get(path).json()
    answer = admin.patch(path, json=body, params={"updateMask": mask} if mask else {})
    assert answer.status_code == 400, answer.text
    assert [each["field"] for each in answer.json()["details"][0]["fieldViolations"]] == named
    assert admin.get(path).json() == before


def test_batch_delete_removes_all_or_none(admin: httpx.Client, user: httpx.Client, create: Create) -> None:
    ids = [create(), create(numRanks=2)]
    names = [f"accounts/{ACCOUNT}/batchJobs/{job_id}" for job_id in ids]
    missing = [*names, f"accounts/{ACCOUNT}/batchJobs/nothing"]
    assert admin.post("/batchJobs:batchDelete", json={"names": missing}).status_code == 404
    assert user.post("/batchJobs:batchDelete", json={"names": names}).status_code == 403
    assert all(admin.get(f"/batchJobs/{job_id}").status_code == 200 for job_id in ids)
    answer = admin.post("/batchJobs:batchDelete", json={"names": [*names, names[0]]})
    assert (answer.status_code, answer.json()) == (200, {})
    assert all(admin.get(f"/batchJobs/{job_id}").status_code == 404 for job_id in ids)


@pytest.mark.parametrize(
    ("names", "field"),
    [
        ([], "names"),
        (["x"], "names[0]"),
        (["accounts/globex/batchJobs/a"], "names[0]"),
        ([f"accounts/{ACCOUNT}/batchJobs/"], "names[0]"),
        ([f"accounts/{ACCOUNT}/batchJobs/a", 5], "names[1]"),
        ([f"accounts/{ACCOUNT}/batchJobs/a"] * 1001, "names"),
        (None, "names"),
    ],
)
def test_batch_delete_of_what_are_no_names_is_refused(admin: httpx.Client, names: Any, field: str) -> None:
    answer = admin.post("/batchJobs:batchDelete", json={"names": names})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["fieldViolations"][0]["field"] == field
