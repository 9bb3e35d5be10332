"""A pool of hosts that is asked for more than it has: nobody starves, and few jobs do not wait for many."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import pytest

from core.placement.reservations import PATIENCE_SECONDS
from tests.lab.api_client import ENDED, ApiClient, Json
from tests.lab.host_pool import SLOTS, gang
from tests.lab.hosts import can_make_hosts
from tests.lab.judge import Judge
from tests.lab.platform import Platform, wait_until

pytestmark = pytest.mark.skipif(bool(can_make_hosts()), reason=can_make_hosts())
WHOLE_POOL = 3 * SLOTS
GRACE: dict[str, Any] = {"stopGracePeriod": "1s"}


@pytest.fixture
def client(hosts_platform: Platform) -> ApiClient:
    return hosts_platform.client


@pytest.fixture(scope="module")
def other(hosts_platform: Platform) -> Iterator[ApiClient]:
    """A second account that may use the pool."""
    hosts_platform.query("UPDATE node_pools SET offered_to_all = true RETURNING 1")
    made = hosts_platform.new_account("other", "bob@other.test")
    yield made
    made.close()


def wait_for_all(client: ApiClient, jobs: list[Json], seconds: float) -> list[str]:
    """The states of all jobs once they have ended."""
    ids = {job["id"] for job in jobs}
    found: dict[str, str] = {}

    def all_ended() -> bool:
        found.update({job["name"].rpartition("/")[2]: job["state"] for job in client.list_all()})
        return all(found[job_id] in ENDED for job_id in ids)

    wait_until(all_ended, seconds, f"{len(ids)} jobs have ended", every=0.25)
    return [found[job_id] for job_id in ids]


def mixed_gang(client: ApiClient, draw: random.Random) -> Json:
    """On one host or on several, of half a second to one and a half."""
    command, ranks = f"sleep {draw.uniform(0.5, 1.5):.1f}", draw.choice([1, 2, 3, 4, 5, 6, 8])
    return gang(client, command, ranks, **GRACE)


@pytest.mark.timeout(600)
def test_mixed_gangs_beyond_the_pool_all_run_whole_with_one_that_needs_all_of_it(
    client: ApiClient, judge: Judge
) -> None:
    draw = random.Random(5)
    jobs = [mixed_gang(client, draw) for _ in range(5)]
    big = gang(client, "sleep 1", WHOLE_POOL, **GRACE)
    jobs += [mixed_gang(client, draw) for _ in range(6)]
    states = wait_for_all(client, [*jobs, big], 300)
    assert states == ["COMPLETED"] * 12
    # Together they filled it, so that every bound was tried.
    assert sum(judge.figures.most_present.values()) >= WHOLE_POOL


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_job_that_needs_the_whole_pool_starts_although_small_ones_never_cease(
    client: ApiClient, judge: Judge
) -> None:
    """Small jobs keep coming, of unknown length, until it has started."""
    draw = random.Random(55)
    started = threading.Event()
    jobs: list[Json] = []

    def feed() -> None:
        while not started.is_set():
            queued = client.http.get("/batchJobs", params={"filter": "state = QUEUED", "pageSize": 1}).json()
            if int(queued["totalSize"]) > 6:
                started.wait(0.2)
                continue
            jobs.append(mixed_gang(client, draw))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        wait_until(lambda: len(jobs) > 12, 120, "the pool is full")
        big = gang(client, "sleep 1", WHOLE_POOL, **GRACE)
        # From the end of its patience nothing new gets in its way: what runs ends within two seconds, and is
        # cleared away. The rest is for a slow machine.
        seen = client.wait_for(big["id"], lambda job: job["startTime"] is not None, PATIENCE_SECONDS + 240)
    finally:
        started.set()
        feeder.join()
    print(f"waited {seen['createTime']} → {seen['startTime']}; {len(jobs)} others; {judge.figures}")
    assert set(wait_for_all(client, [*jobs, big], 300)) == {"COMPLETED"}


RUN_SECONDS = 2.0


def waited(platform: Platform, jobs: list[Json]) -> float:
    """Seconds from the creation to the start of the job that waited longer than half of them did."""
    names = ", ".join(f"'{job['id']}'" for job in jobs)
    rows = platform.query(
        "SELECT extract(epoch FROM r.started_at - j.created_at)::float8"
        " FROM jobs j JOIN ranks r ON r.job_id = j.id"
        f" WHERE j.batch_job_id IN ({names}) AND r.started_at IS NOT NULL"
    )
    assert len(rows) == len(jobs)
    return float(median(seconds for (seconds,) in rows))


@pytest.mark.parametrize(
    "many", [60, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])], ids=str
)
def test_account_with_few_jobs_does_not_wait_for_one_with_many(
    hosts_platform: Platform, client: ApiClient, other: ApiClient, judge: Judge, many: int
) -> None:
    def submit(account: ApiClient, count: int) -> list[Json]:
        with ThreadPoolExecutor(4) as pool:
            command = f"sleep {RUN_SECONDS}"
            return list(pool.map(lambda _: gang(account, command, 1, **GRACE), itertools.repeat(0, count)))

    alone = submit(other, 10)
    assert wait_for_all(other, alone, 120) == ["COMPLETED"] * 10
    unloaded = waited(hosts_platform, alone)
    crowd = submit(client, many)
    running = f"account_id = '{client.account}' AND state = 'RUNNING'"
    wait_until(
        lambda: hosts_platform.query(f"SELECT count(*) FROM jobs WHERE {running}")[0][0] >= SLOTS,
        60,
        "the many have begun to run",
    )
    few = submit(other, 10)
    assert wait_for_all(other, few, 120) == ["COMPLETED"] * 10
    left = hosts_platform.query(
        f"SELECT count(*) FROM jobs WHERE account_id = '{client.account}' AND state = 'QUEUED'"
    )[0][0]
    loaded = waited(hosts_platform, few)
    print(f"waited {unloaded:.2f} s alone, {loaded:.2f} s beside {many}, of which {left} still waited at the end")
    # Slots are not taken away from anybody: the first of them comes free when a job ends, which takes as long as
    # one runs, and by then the pool's whole number has. The account that holds fewer slots gets them.
    assert loaded <= 2 * unloaded + RUN_SECONDS
    assert left > 0, "those that came first were all through: nothing was put to the test"
    assert set(wait_for_all(client, crowd, 1200)) == {"COMPLETED"}
