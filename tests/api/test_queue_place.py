"""A queued job's place and estimated start over the wire: answered while it is queued, and nobody's to set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from core.database import Database
from core.jobs import job_moves
from core.jobs.placing import write_waiting
from core.models import Job
from core.placement.values import Waiting
from core.states import JobState
from tests.api.conftest import IMAGE
from tests.api.test_node_pools import violations

Create = Callable[..., str]
Write = Callable[..., None]
START = "2030-01-02T03:04:00Z"


def key_of(database: Database, job_id: str) -> str:
    with database.transaction() as connection:
        return connection.execute(select(Job.id).where(Job.batch_job_id == job_id)).scalar_one()


@pytest.fixture
def write(database: Database) -> Write:
    """Writes down what a pass finds out about a job."""

    def waits(job_id: str, position: int | None, start: str | None) -> None:
        at = None if start is None else datetime.fromisoformat(start)
        key = key_of(database, job_id)
        write_waiting(
            database, [Waiting(key, 1, "WAITING_FOR_TURN", "waits", "waits", position=position, starts_at=at)]
        )

    return waits


def place(job: Mapping[str, Any]) -> tuple[int, str | None]:
    return job["queuePosition"], job["estimatedStartTime"]


def test_place_and_estimate_are_answered_while_the_job_is_queued(
    admin: httpx.Client, database: Database, create: Create, write: Write
) -> None:
    job_id = create()
    path = f"/batchJobs/{job_id}"
    assert place(admin.get(path).json()) == (0, None)
    write(job_id, 7, START)
    assert place(admin.get(path).json()) == (7, START)
    masked = admin.get(path, params={"readMask": "queue_position,estimatedStartTime"}).json()
    assert masked == {"queuePosition": 7, "estimatedStartTime": START}
    assert place(admin.patch(path, json={"displayName": "x"}).json()) == (7, START)
    write(job_id, 5, None)
    assert place(admin.get(path).json()) == (5, None)
    write(job_id, 5, START)
    with database.transaction() as connection:
        assert job_moves.move_job(connection, key_of(database, job_id), 1, JobState.PENDING, status="reserved")
    assert place(admin.get(path).json()) == (0, None), "whatever its row still says"


def test_place_and_estimate_of_a_new_job_are_not_the_callers_to_set(
    admin: httpx.Client, create: Create, write: Write
) -> None:
    given = {"queuePosition": 1, "estimated_start_time": "2031-01-01T00:00:00Z"}
    made = admin.post("/batchJobs", json={"nodePoolId": "default", "imageRef": IMAGE, **given})
    assert made.status_code == 200 and place(made.json()) == (0, None)
    job_id = create()
    write(job_id, 7, START)
    path = f"/batchJobs/{job_id}"
    refused = admin.patch(path, json={"shared": True, **given})
    assert violations(refused) == {"queuePosition", "estimatedStartTime"}, "an update names what it changes"
    assert place(admin.post(f"{path}:clone", json=given).json()) == (0, None)


def test_lists_are_filtered_and_ordered_by_place_and_estimate(
    admin: httpx.Client, create: Create, write: Write
) -> None:
    team = {"annotations": {"team": "queue"}}
    last, first, other = create(**team), create(**team), create(**team)
    write(last, 9, START)
    write(first, 2, "2030-01-01T00:00:00Z")

    def found(**params: str) -> list[str]:
        asked = params.pop("filter", "queuePosition >= 0")
        answer = admin.get("/batchJobs", params={"filter": f"annotations.team = queue AND {asked}", **params})
        assert answer.status_code == 200, answer.text
        return [job["name"].rpartition("/")[2] for job in answer.json()["batchJobs"]]

    assert found(orderBy="queuePosition") == [other, first, last]
    assert found(orderBy="estimated_start_time desc") == [last, first, other]
    assert found(filter="queue_position > 2") == [last]
    assert found(filter='estimatedStartTime < "2030-01-02T00:00:00Z"') == [first]
    assert found(filter="-estimatedStartTime:*") == [other]
