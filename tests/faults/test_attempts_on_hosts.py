"""Hosts that refuse, fill up and go away: what is tried again elsewhere, and what waits. On scripted engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from core.nodes import ensure_node, ensure_pool
from tests.faults.harness.chaos import let_pass
from tests.lab.api_client import ApiClient
from tests.lab.fake_engine import (
    DISK_FULL,
    ENGINE_ERROR,
    Behaviour,
    FakeContainer,
    FakeFleet,
    FakeImage,
    Refusal,
)
from tests.lab.images import ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

IMAGE = "busybox:fake"
NAMES = ("one", "two")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeFleet]:
    with FakeFleet(len(NAMES), Path(tmp_path_factory.mktemp("f")), images=(FakeImage(IMAGE),)) as started:
        yield started


@pytest.fixture(scope="module")
def platform(servers: Servers, fleet: FakeFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    started = Platform(
        servers,
        tmp_path_factory.mktemp("platform"),
        lease_seconds=2,
        step_lease_seconds=3,
        listing_seconds=1,
        sweep_seconds=1,
        lost_after_seconds=3,
        orphan_grace_seconds=2,
        engine_timeout_seconds=5,
    )
    ensure_pool(started.database, account="acme", pool="hosts")
    for name, served in zip(NAMES, fleet.engines, strict=True):
        ensure_node(
            started.database,
            account="acme",
            pool="hosts",
            name=name,
            endpoint=served.endpoint,
            worker_group=started.installation,
            cpu_count=4,
            memory_bytes=8 << 30,
            slots=8,
        )
    wait_until(lambda: states(started) == ["READY"] * 2, 30, "both nodes are watched")
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def whole_hosts(fleet: FakeFleet) -> Iterator[None]:
    yield
    for served in fleet.engines:
        served.engine.refusals.clear()


def states(platform: Platform) -> list[str]:
    rows = platform.query(
        "SELECT n.state FROM nodes n JOIN node_pools p ON p.id = n.pool_id WHERE p.pool_id = 'hosts'"
        " AND n.seen_at IS NOT NULL ORDER BY n.name"
    )
    return [state for (state,) in rows]


def submit(client: ApiClient, ranks: int = 1, script: dict[str, Any] | None = None, **body: Any) -> str:
    """A job whose containers do as they are told."""
    told = orjson.dumps({"seconds": 0.2, **(script or {})}).decode()
    job = client.create(
        nodePoolId="hosts", imageRef=IMAGE, numRanks=ranks, envVars={"FAKE_ENGINE": told},
        shellExecutor={"command": "scripted"}, stopGracePeriod="1s", **body,
    )  # fmt: skip
    found: str = job["id"]
    return found


def ranks_of(client: ApiClient, job_id: str, attempt: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.http.get(
        f"/batchJobs/{job_id}/ranks", params={"attempt": attempt}
    ).json()["ranks"]
    return found


def wait_at_rest(fleet: FakeFleet, platform: Platform) -> None:
    wait_until(
        lambda: not any(served.engine.containers for served in fleet.engines) and platform.slots_in_use() == 0,
        30,
        "no container and no slot is left",
    )


@pytest.mark.parametrize(("refusal", "reason"), [(ENGINE_ERROR, "ENGINE_ERROR"), (DISK_FULL, "DISK_FULL")])
@pytest.mark.parametrize("verb", ["create", "start"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_host_that_cannot_is_avoided_and_the_job_is_not_charged(
    platform: Platform, fleet: FakeFleet, refusal: Any, reason: str, verb: str, ranks: int
) -> None:
    for served in fleet.engines:
        served.engine.refusals[verb] = refusal
    job = submit(platform.client, ranks)
    platform.client.wait_for(job, lambda seen: seen["attempt"] >= 2)
    failed = ranks_of(platform.client, job, 1)
    (bad,) = {rank["nodeId"] for rank in failed}
    assert reason in {rank["reason"] for rank in failed}
    for name, served in zip(NAMES, fleet.engines, strict=True):
        if name != bad:
            served.engine.refusals.clear()
    done = platform.client.wait_end(job)
    assert done["state"] == "COMPLETED", done["status"]
    assert {rank["nodeId"] for rank in ranks_of(platform.client, job)} == set(NAMES) - {bad}
    wait_at_rest(fleet, platform)


def test_every_host_that_cannot_fails_the_job_with_their_reason_after_a_bounded_time(
    platform: Platform, fleet: FakeFleet
) -> None:
    for served in fleet.engines:
        served.engine.refusals["create"] = DISK_FULL
    job = submit(platform.client, 2, retryPolicy={"maxAttempts": 9})
    done = platform.client.wait_end(job, 90)
    assert (done["state"], done["reason"], done["attempt"]) == ("FAILED", "DISK_FULL", 6)
    assert "no space left on device" in done["status"]
    wait_at_rest(fleet, platform)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("verb", ["create", "start"])
def test_what_is_the_users_fails_at_once_names_the_rank_and_leaves_nothing(
    platform: Platform, fleet: FakeFleet, verb: str, rank: int
) -> None:
    why = Refusal(400, 'OCI runtime create failed: exec: "/nope": stat /nope: no such file or directory: unknown')
    refuses = Behaviour(**{f"{verb}_refusal": why})  # type: ignore[arg-type]

    def of_rank(container: FakeContainer) -> Behaviour | None:
        return refuses if container.name.endswith(f"-{rank}") else None

    for served in fleet.engines:
        served.engine.behaviour_of = of_rank
    try:
        job = submit(platform.client, 3, {"seconds": None})
        done = platform.client.wait_end(job, 30)
    finally:
        for served in fleet.engines:
            served.engine.behaviour_of = None
    assert (done["state"], done["reason"], done["attempt"]) == ("FAILED", "COMMAND_NOT_STARTED", 1)
    assert done["status"].startswith(f"rank {rank} could not be started on node ")
    assert "/nope" in done["status"]
    ends = [found["state"] for found in ranks_of(platform.client, job)]
    assert ends == ["FAILED" if each == rank else "STOPPED" for each in range(3)]
    wait_at_rest(fleet, platform)


def test_host_lost_with_a_running_rank_is_waited_for_before_the_next_attempt(
    platform: Platform, fleet: FakeFleet
) -> None:
    rules = [{"action": "RETRY", "nodeLost": True}, {"action": "FAIL"}]
    policy = {"maxAttempts": 2, "rules": rules}
    job = submit(platform.client, 1, {"seconds": None}, retryPolicy=policy)
    platform.client.wait_for(job, lambda seen: seen["state"] == "RUNNING")
    (rank,) = ranks_of(platform.client, job)
    lost = fleet.engines[NAMES.index(rank["nodeId"])]
    lost.go_away()
    try:
        wait_until(lambda: ranks_of(platform.client, job)[0]["state"] == "LOST", 30, "the rank is lost")
        # That nothing follows can only be seen by waiting: so long that several sweeps would have done it.
        let_pass(2)
        seen = platform.client.get(job)
        assert (seen["state"], seen["attempt"]) == ("RUNNING", 1), "what is lost may still run"
        assert lost.engine.running_count == 1
    finally:
        lost.come_back()
    again = platform.client.wait_for(job, lambda seen: seen["attempt"] == 2 and seen["state"] == "RUNNING")
    assert again["reason"] == ""
    assert ranks_of(platform.client, job)[0]["nodeId"] != rank["nodeId"]
    assert lost.engine.running_count == 0
    platform.client.cancel(job)
    wait_at_rest(fleet, platform)


def test_host_lost_before_the_start_costs_no_attempt(platform: Platform, fleet: FakeFleet) -> None:
    """Its engine takes the creation and never answers; then it is gone."""
    for served in fleet.engines:
        served.engine.delays["create"] = 60
    job = submit(platform.client)
    platform.client.wait_for(job, lambda seen: seen["state"] == "PENDING")
    wait_until(lambda: ranks_of(platform.client, job)[0]["state"] == "CREATING", 10, "it is being created")
    (rank,) = ranks_of(platform.client, job)
    lost = fleet.engines[NAMES.index(rank["nodeId"])]
    for served in fleet.engines:
        served.engine.delays.clear()
    lost.go_away()
    try:
        done = platform.client.wait_end(job, 60)
        assert (done["state"], done["attempt"]) == ("COMPLETED", 2), done["status"]
        assert ranks_of(platform.client, job, 1)[0]["reason"] == "NODE_LOST"
    finally:
        lost.come_back()
    wait_at_rest(fleet, platform)
