"""F-30: clocks that are wrong: a worker's, a supervisor's, a node's, and one that steps while jobs run.

Leases and the jobs' clocks are the database's; what a node's clock says is compared with itself alone. The engines
are scripted ones: a real engine does not ask the C library for the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.api_client import ApiClient
from tests.lab.clock import Clock
from tests.lab.fake_engine.process import FleetProcess
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

IMAGE = "busybox:1"
MINUTE, HOUR = 60, 3600


@dataclass(frozen=True)
class Wrong:
    """A platform whose processes disagree about the time."""

    platform: Platform
    node_clock: Clock
    clocks: Mapping[str, Clock]

    @property
    def client(self) -> ApiClient:
        return self.platform.client


@pytest.fixture(scope="module")
def wrong(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wrong]:
    folder = Path(tmp_path_factory.mktemp("c"))
    node_clock = Clock(folder / "node", HOUR)
    clocks = {"worker": Clock(folder / "worker", 10 * MINUTE), "supervisor": Clock(folder / "super", -10 * MINUTE)}
    sockets = folder / "e"
    sockets.mkdir()
    fleet = FleetProcess(2, sockets, IMAGE, node_clock.variables)
    platform: Platform | None = None
    try:
        platform = Platform(
            servers,
            folder,
            endpoints=fleet.endpoints,
            network="host",
            variables=lambda name, _: clocks[name].variables if name in clocks else {},
            lease_seconds=3,
            step_lease_seconds=6,
            listing_seconds=1,
            sweep_seconds=1,
            orphan_grace_seconds=3,
            lost_after_seconds=10,
        )
        yield Wrong(platform, node_clock, clocks)
    finally:
        if platform is not None:
            platform.stop()
        fleet.close()


def submit(client: ApiClient, seconds: float, ranks: int = 1, **body: Any) -> str:
    """Prints a line before and after so many seconds."""
    command = f"echo first; sleep {seconds}; echo last"
    job = client.create(
        imageRef=IMAGE, numRanks=ranks, shellExecutor={"command": command}, stopGracePeriod="1s", **body
    )
    found: str = job["id"]
    return found


def test_jobs_end_right_in_one_attempt_whoever_has_the_wrong_time(wrong: Wrong) -> None:
    client = wrong.client
    jobs = [submit(client, 0.3 + number % 3, ranks=1 + number % 3) for number in range(9)]
    for job in jobs:
        done = client.wait_end(job, 60)
        assert (done["state"], done["attempt"]) == ("COMPLETED", 1), done["status"]
        assert client.lines(job)[0] == "first" and client.lines(job)[-1] == "last"
    wrong.platform.wait_at_rest()
    said = wrong.platform.log("supervisor")
    assert "node_let_go" not in said and "orphan_removed" not in said


def test_run_timeout_is_by_no_process_clock(wrong: Wrong) -> None:
    job = submit(wrong.client, 600, timeouts={"run": "4s"})
    wrong.client.wait_for(job, lambda seen: seen["state"] == "RUNNING")
    begun = time.monotonic()
    done = wrong.client.wait_end(job, 60)
    assert (done["state"], done["reason"]) == ("FAILED", "RUN_TIMEOUT")
    assert time.monotonic() - begun >= 3
    assert wrong.client.lines(job)[0] == "first"


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_clock_of_a_node_that_steps_while_a_job_runs_changes_nothing(wrong: Wrong, step: int) -> None:
    client = wrong.client
    job = submit(client, 4, ranks=2)
    client.wait_for(job, lambda seen: seen["state"] == "RUNNING")
    wrong.node_clock.set(HOUR + step)
    try:
        done = client.wait_end(job, 60)
        assert (done["state"], done["attempt"]) == ("COMPLETED", 1), done["status"]
        assert sorted(client.lines(job)) == ["first", "first", "last", "last"]
        after = submit(client, 0.2)
        assert client.wait_end(after, 60)["state"] == "COMPLETED"
        wrong.platform.wait_at_rest()
    finally:
        wrong.node_clock.set(HOUR)


def test_clock_of_a_worker_that_steps_back_holds_nothing_up(wrong: Wrong) -> None:
    for seconds in (-HOUR, 0, HOUR):
        wrong.clocks["worker"].set(seconds)
        wrong.clocks["supervisor"].set(-seconds)
        job = submit(wrong.client, 0.3, ranks=2)
        begun = time.monotonic()
        assert wrong.client.wait_end(job, 60)["state"] == "COMPLETED"
        assert time.monotonic() - begun < 30
    wait_until(lambda: wrong.platform.slots_in_use() == 0, 30, "no slot is held")


def test_the_clocks_are_really_wrong(wrong: Wrong) -> None:
    """As the containers of a node have it: their times in rows are an hour off."""
    job = submit(wrong.client, 0.1)
    wrong.client.wait_end(job, 60)
    ((ahead,),) = wrong.platform.query(
        f"SELECT extract(epoch FROM started_at - placed_at) FROM ranks WHERE job_id = '{job}'"
    )
    assert abs(float(ahead) - HOUR) < MINUTE
