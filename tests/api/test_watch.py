"""Watching a job: every state once, in order, from where a client left off, until the job or the key ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import httpx
import pytest
from sqlalchemy import func, select, update

from core.database import Database
from core.jobs import job_moves, launching
from core.jobs.placing import write_waiting
from core.models import ApiKey, Job
from core.placement.values import Waiting
from core.settings import Settings
from core.states import JobState
from tests.api.conftest import Served, serving
from tests.api.event_reader import EventReader, reading
from tests.lab.platform import wait_until

Create = Callable[..., str]


def watching(url: str, key: str, job_id: str, last_id: str = "") -> AbstractContextManager[EventReader]:
    return reading(url, key, f"/batchJobs/{job_id}:watch", last_id)


def states(watch: EventReader) -> list[str]:
    return [data["state"] for name, _, data in watch.events if name == "state"]


@pytest.fixture
def move(database: Database) -> Callable[..., None]:
    def to(job_id: str, state: JobState, status: str) -> None:
        with database.transaction() as connection:
            key = connection.execute(select(Job.id).where(Job.batch_job_id == job_id)).scalar_one()
            assert job_moves.move_job(connection, key, 1, state, status=status)

    return to


def test_watch_tells_every_state_and_status_until_the_end(
    served: Served, database: Database, create: Create, move: Callable[..., None]
) -> None:
    job_id = create()
    with watching(served.url, served.user_key, job_id) as watch:
        wait_until(lambda: watch.names() == ["job"], 10, "the job as it is")
        assert watch.events[0][2]["state"] == "QUEUED" and watch.events[0][2]["name"].endswith(job_id)
        # Two moves between two looks are two events all the same.
        move(job_id, JobState.PENDING, "room is reserved")
        wait_until(lambda: states(watch) == ["PENDING"], 10, "PENDING is told")
        with database.transaction() as connection:
            key = connection.execute(select(Job.id).where(Job.batch_job_id == job_id)).scalar_one()
        launching.write_progress(database, [key], "pulling x: 41 %", "PULLING")
        wait_until(lambda: watch.names()[-1] == "status", 10, "the progress is told")
        assert watch.events[-1][2]["status"] == "pulling x: 41 %" and watch.events[-1][2]["reason"] == "PULLING"
        move(job_id, JobState.RUNNING, "running")
        move(job_id, JobState.COMPLETED, "exited 0")
        assert watch.closed.wait(10)
    assert states(watch) == ["PENDING", "RUNNING", "COMPLETED"]
    assert watch.names()[-1] == "end" and watch.events[-1][2]["state"] == "COMPLETED"
    assert watch.events[-1][2]["endTime"].endswith("Z")


def is_told(watch: EventReader, names: list[str]) -> bool:
    return watch.names() == names


def test_watch_tells_a_new_place_in_the_queue_once_and_nothing_of_a_row_that_says_the_same(
    served: Served, database: Database, create: Create, move: Callable[..., None]
) -> None:
    job_id = create()
    with database.transaction() as connection:
        key = connection.execute(select(Job.id).where(Job.batch_job_id == job_id)).scalar_one()
    start = datetime.fromisoformat("2030-01-02T03:04:00+00:00")
    first = Waiting(key, 1, "WAITING_FOR_TURN", "waiting", "waiting", position=20, starts_at=start)
    second = replace(first, position=10, starts_at=start - timedelta(minutes=5))
    with watching(served.url, served.user_key, job_id) as watch:
        wait_until(lambda: watch.names() == ["job"], 10, "the job as it is")
        for told, waiting in enumerate((first, second), 1):
            write_waiting(database, [waiting])
            expected = ["job", *["status"] * told]
            wait_until(partial(is_told, watch, expected), 10, "it is told")
            write_waiting(database, [waiting])
        write_waiting(database, [replace(second, position=None, starts_at=None)])
        wait_until(lambda: len(watch.events) == 4, 10, "that it is not known any more")
        move(job_id, JobState.PENDING, "room is reserved")
        move(job_id, JobState.FAILED, "no")
        assert watch.closed.wait(10)
    said = [
        (data["queuePosition"], data["estimatedStartTime"]) for name, _, data in watch.events if name == "status"
    ]
    assert said == [(20, "2030-01-02T03:04:00Z"), (10, "2030-01-02T02:59:00Z"), (0, None)]
    assert watch.names() == ["job", "status", "status", "status", "state", "state", "end"]


def test_watch_of_a_job_that_stays_as_it_is_tells_it_once(
    served: Served, database: Database, create: Create, move: Callable[..., None]
) -> None:
    quiet, other = create(), create()
    with database.transaction() as connection:
        key = connection.execute(select(Job.id).where(Job.batch_job_id == other)).scalar_one()
    with (
        watching(served.url, served.user_key, quiet) as watch,
        watching(served.url, served.user_key, other) as told,
    ):
        wait_until(lambda: watch.names() == told.names() == ["job"], 10, "both jobs as they are")
        write_waiting(database, [Waiting(key, 1, "WAITING_FOR_TURN", "waiting", "waiting", position=2)])
        wait_until(lambda: told.names() == ["job", "status"], 10, "the other's change, in a look at both")
        move(quiet, JobState.PENDING, "room is reserved")
        move(quiet, JobState.FAILED, "no")
        assert watch.closed.wait(10)
    assert watch.names() == ["job", "state", "state", "end"]


def test_watch_goes_on_after_the_last_event_without_gap_or_repeat(
    served: Served, create: Create, move: Callable[..., None]
) -> None:
    job_id = create()
    with watching(served.url, served.user_key, job_id) as watch:
        wait_until(lambda: bool(watch.events), 10, "the stream has begun")
        move(job_id, JobState.PENDING, "a")
        wait_until(lambda: states(watch) == ["PENDING"], 10, "PENDING is told")
    last_id = watch.events[-1][1]
    move(job_id, JobState.RUNNING, "b")
    move(job_id, JobState.FAILED, "c")
    with watching(served.url, served.user_key, job_id, last_id) as watch:
        assert watch.closed.wait(10)
    assert states(watch) == ["RUNNING", "FAILED"]
    with watching(served.url, served.user_key, job_id, "0") as watch:
        assert watch.closed.wait(10)
    assert states(watch) == ["QUEUED", "PENDING", "RUNNING", "FAILED"]


def test_watch_of_a_job_that_is_deleted_says_so(served: Served, admin: httpx.Client, create: Create) -> None:
    job_id = create()
    with watching(served.url, served.user_key, job_id) as watch:
        wait_until(lambda: bool(watch.events), 10, "the stream has begun")
        admin.delete(f"/batchJobs/{job_id}").raise_for_status()
        assert watch.closed.wait(10)
    assert watch.names()[-1] == "deleted"


def test_watch_ends_within_a_second_of_its_keys_revocation(
    served: Served, database: Database, create: Create
) -> None:
    of_key = ApiKey.id == served.user_key.split("_")[1]
    with watching(served.url, served.user_key, create()) as watch:
        wait_until(lambda: bool(watch.events), 10, "the stream has begun")
        with database.transaction() as connection:
            connection.execute(update(ApiKey).where(of_key).values(revoked_at=func.now()))
        revoked_at = time.monotonic()
        try:
            assert watch.closed.wait(5)
            assert time.monotonic() - revoked_at < 1.5  # one second, and half of one for a slow machine
        finally:
            with database.transaction() as connection:
                connection.execute(update(ApiKey).where(of_key).values(revoked_at=None))


def test_streams_of_an_account_are_limited_and_given_back(
    settings: Settings, served: Served, create: Create
) -> None:
    job_id = create()
    with serving(settings.model_copy(update={"max_streams_per_account": 2})) as url:
        with watching(url, served.user_key, job_id) as first, watching(url, served.admin_key, job_id):
            assert first.status == 200
            with watching(url, served.user_key, job_id) as third:
                assert third.status == 429

        def opens() -> bool:
            with watching(url, served.user_key, job_id) as watch:
                return watch.status == 200

        wait_until(opens, 10, "a place is free again")


@pytest.mark.parametrize("last_id", ["x", "-1", "9" * 20, "1.5"])
def test_watch_after_what_is_no_event_is_refused(served: Served, create: Create, last_id: str) -> None:
    with watching(served.url, served.user_key, create(), last_id) as watch:
        assert watch.status == 400


def test_watch_of_another_accounts_job_is_not_found(served: Served, create: Create) -> None:
    with watching(served.url, served.stranger_key, create()) as watch:
        assert watch.status == 404
