"""Processes killed and the broker emptied under load: the same containers go on, every job ends right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.lab.api_client import ApiClient
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

#: Prints a line every 0.1 s for as long as its file is there, then an end mark; exits by its rank.
COUNT = "i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); sleep 0.1; done; echo the end; exit {code}"


@pytest.fixture(scope="module")
def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    started = Platform(
        servers,
        tmp_path_factory.mktemp("faults"),
        slots=12,
        lease_seconds=3,
        step_lease_seconds=5,
        listing_seconds=2,
        sweep_seconds=1,
    )
    yield started
    started.stop()


@pytest.fixture
def client(platform: Platform) -> ApiClient:
    return platform.client


def test_worker_and_supervisor_killed_while_ten_jobs_run_the_same_containers_go_on(
    platform: Platform, client: ApiClient
) -> None:
    jobs = {
        client.shell(COUNT.format(lines=100, code=index % 2), image=BUSYBOX)["id"]: index % 2
        for index in range(10)
    }
    for job_id in jobs:
        client.wait_for(job_id, lambda job: job["state"] == "RUNNING", 60)
    before = {container.id for container in platform.containers()}
    assert len(before) == 10
    platform.kill("worker")
    platform.kill("supervisor")
    assert {container.id for container in platform.containers()} == before
    platform.start("worker")
    platform.start("supervisor")
    for job_id, code in jobs.items():
        done = client.wait_end(job_id, 90)
        assert done["state"] == ("FAILED" if code else "COMPLETED"), done["status"]
        assert client.lines(job_id) == [*(f"line {i}" for i in range(100)), "the end"]
        ran = platform.query(f"SELECT container_id FROM ranks WHERE job_id = '{job_id}'")
        assert ran[0][0] in before
    platform.wait_at_rest()


def test_jobs_that_end_while_nobody_watches_get_their_true_end(platform: Platform, client: ApiClient) -> None:
    job = client.shell("sleep 2; echo late; exit 5", image=BUSYBOX)
    client.wait_for(job["id"], lambda seen: seen["state"] == "RUNNING")
    platform.kill("supervisor")
    name = f"ls-{job['id']}-1-0"
    wait_until(lambda: platform.engine.containers.get(name).status == "exited", 20, "the container has ended")
    platform.start("supervisor")
    done = client.wait_end(job["id"], 30)
    assert (done["state"], done["status"]) == ("FAILED", "the job failed on node local: exit code 5: late")


def test_broker_flushed_with_fifty_jobs_queued_all_finish(platform: Platform, client: ApiClient) -> None:
    jobs = [client.shell("sleep 0.2", image=BUSYBOX)["id"] for _ in range(50)]
    path, _, number = platform.broker_url.removeprefix("redis+socket://").partition("?virtual_host=")
    broker = redis.Redis(unix_socket_path=path, db=int(number))
    broker.flushall()
    broker.close()
    for job_id in jobs:
        assert client.wait_end(job_id, 180)["state"] == "COMPLETED"
    platform.wait_at_rest()


def test_api_killed_and_started_again_answers_for_what_it_took(platform: Platform, client: ApiClient) -> None:
    job = client.shell("sleep 1", image=BUSYBOX)
    platform.kill("api")
    platform.start("api")
    wait_until(lambda: answers(client), 20, "the API answers")
    assert client.wait_end(job["id"])["state"] == "COMPLETED"


def answers(client: ApiClient) -> bool:
    import httpx

    try:
        return client.http.get("/batchJobs", params={"pageSize": 1}).status_code == 200
    except httpx.TransportError:
        return False
