"""A pool of GPUs, from the request to what its engines are asked for. On scripted engines, so without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from core.nodes import ensure_node, ensure_pool
from tests.lab.api_client import ApiClient
from tests.lab.fake_engine import FakeFleet, FakeImage, Refusal
from tests.lab.fake_engine.engine import HostFacts
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

IMAGE = "busybox:fake"
GPUS = 2
#: As engines say it that have no driver for GPUs (20.10 to 28).
NO_DRIVER = Refusal(500, 'could not select device driver "" with capabilities: [[gpu]]')


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeFleet]:
    """Two hosts with two GPUs each, and one without."""
    folder = Path(tmp_path_factory.mktemp("g"))

    def facts(number: int) -> HostFacts:
        return HostFacts(f"gpus-{folder.name}-{number}", str(folder), gpu_count=GPUS if number < 2 else 0)

    with FakeFleet(3, folder, images=(FakeImage(IMAGE),), facts=facts) as started:
        yield started


@pytest.fixture(scope="module")
def platform(servers: Servers, fleet: FakeFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    endpoints = [served.endpoint for served in fleet.engines]
    folder = tmp_path_factory.mktemp("platform")
    started = Platform(
        servers, folder, endpoints=endpoints[:2], network="host", listing_seconds=1, sweep_seconds=1
    )
    try:
        ensure_pool(started.database, account="acme", pool="plain")
        ensure_node(
            started.database,
            account="acme",
            pool="plain",
            name="plain",
            endpoint=endpoints[2],
            worker_group=started.installation,
            cpu_count=4,
            memory_bytes=8 << 30,
        )
        seen = "SELECT gpu_count FROM nodes WHERE seen_at IS NOT NULL ORDER BY id"
        wait_until(lambda: started.query(seen) == [(GPUS,), (GPUS,), (0,)], 60, "every node has said what it has")
        yield started
    finally:
        started.stop()


@pytest.fixture(autouse=True)
def whole_hosts(fleet: FakeFleet) -> Iterator[None]:
    yield
    for served in fleet.engines:
        served.engine.refusals.clear()


def submit(client: ApiClient, ranks: int, **body: Any) -> str:
    """A job that runs until it is cancelled."""
    told = orjson.dumps({"seconds": None}).decode()
    job = client.create(
        imageRef=IMAGE, numRanks=ranks, envVars={"FAKE_ENGINE": told}, stopGracePeriod="1s",
        shellExecutor={"command": "scripted"}, **body,
    )  # fmt: skip
    return str(job["id"])


def end(client: ApiClient, platform: Platform, *jobs: str) -> None:
    for job in jobs:
        client.cancel(job)
    for job in jobs:
        client.wait_end(job)
    wait_until(lambda: platform.slots_in_use() == 0, 60, "no slot is held")


def asked_of(fleet: FakeFleet) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """By host and GPU, or "" for none: the bodies of the create calls of the containers that are there."""
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for number, served in enumerate(fleet.engines):
        for container in tuple(served.engine.containers.values()):
            body = container.payload
            requests = body["HostConfig"].get("DeviceRequests", [])
            gpu = requests[0]["DeviceIDs"][0] if requests else ""
            if requests:
                assert requests == [{"Driver": "", "DeviceIDs": [gpu], "Capabilities": [["gpu"]]}]
            found.setdefault((number, gpu), []).append(body)
    return found


def test_each_rank_of_a_gpu_pool_gets_a_gpu_of_its_own_and_a_cpu_pools_none(
    platform: Platform, fleet: FakeFleet
) -> None:
    client = platform.client
    gang, single, plain = submit(client, 3), submit(client, 1), submit(client, 2, nodePoolId="plain")
    for job in (gang, single, plain):
        client.wait_for(job, lambda seen: seen["state"] == "RUNNING")
    asked = asked_of(fleet)
    assert sorted(asked) == [(0, "0"), (0, "1"), (1, "0"), (1, "1"), (2, "")]
    assert [len(bodies) for _, bodies in sorted(asked.items())] == [1, 1, 1, 1, 2]
    of_gpus = [
        dict(each.split("=", 1) for each in bodies[0]["Env"]) for (host, _), bodies in asked.items() if host < 2
    ]
    assert {environment["LOCAL_RANK"] for environment in of_gpus} == {"0"}
    assert sorted(environment["RANK"] for environment in of_gpus) == ["0", "0", "1", "2"]
    of_cpus = [dict(each.split("=", 1) for each in body["Env"]) for body in asked[2, ""]]
    assert sorted(environment["LOCAL_RANK"] for environment in of_cpus) == ["0", "1"]
    end(client, platform, gang, single, plain)


def test_host_that_cannot_give_its_gpu_is_avoided_and_the_job_is_not_charged(
    platform: Platform, fleet: FakeFleet
) -> None:
    client = platform.client
    fleet.engines[0].engine.refusals["start"] = NO_DRIVER
    job = submit(client, GPUS, retryPolicy={"maxAttempts": 1})
    running = client.wait_for(job, lambda seen: seen["state"] == "RUNNING")
    assert running["attempt"] == 2, running["status"]
    ranks = client.http.get(f"/batchJobs/{job}/ranks", params={"attempt": 1}).json()["ranks"]
    refused = [rank for rank in ranks if rank["reason"] == "GPU_UNAVAILABLE"]
    assert refused and {rank["nodeId"] for rank in ranks} == {"local"}
    assert "the node cannot give it its GPU: could not select device driver" in refused[0]["status"]
    assert sorted(asked_of(fleet)) == [(1, "0"), (1, "1")]
    end(client, platform, job)
