"""What ranks used, as a client sees it: each over time, all in one list, of the attempt that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from core.database import Database
from core.models import Rank
from core.usage.series import UsagePoint
from core.usage.storing import RankSamples, append_samples
from tests.api.conftest import ACCOUNT

START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
Create = Callable[..., str]


def point(seconds: int, cores: float, memory: int) -> UsagePoint:
    done = seconds * 1000
    return UsagePoint(START_MS + done, int(done * 1000 * cores), memory, done, 2 * done, 3 * done, 4 * done)


@pytest.fixture
def used(database: Database, create: Create) -> str:
    """A job of three ranks: the first two were sampled every five seconds, the second has no network counted."""
    job_id = create(numRanks=3)
    with database.transaction() as connection:
        started = datetime.fromtimestamp(START_MS / 1000, UTC)
        connection.execute(update(Rank).where(Rank.job_id == job_id).values(started_at=started))
    for rank, cores in ((0, 0.5), (1, 2.0)):
        points = [point(5 * n, cores, 1000 * (rank + 1) + n % 3) for n in range(1, 41)]
        append_samples(database, [RankSamples(job_id, 1, rank, points, 1 << 30, rank == 0)])
    return job_id


def _usage(client: httpx.Client, job_id: str, rank: int, **params: Any) -> dict[str, Any]:
    answer = client.get(f"/batchJobs/{job_id}/ranks/{rank}/usage", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_rank_usage_is_a_summary_and_its_points_over_time(admin: httpx.Client, used: str) -> None:
    found = _usage(admin, used, 0)
    assert found["usage"] == {
        "name": f"accounts/{ACCOUNT}/batchJobs/{used}/ranks/0/usage",
        "rank": 0,
        "attempt": 1,
        "firstSampleTime": "2026-01-01T00:00:05Z",
        "lastSampleTime": "2026-01-01T00:03:20Z",
        "cpuSeconds": 100.0,
        "meanCpuCores": 0.5,
        "memoryBytes": "1001",
        "peakMemoryBytes": "1002",
        "memoryLimitBytes": "1073741824",
        "networkRxBytes": "200000",
        "networkTxBytes": "400000",
        "blockReadBytes": "600000",
        "blockWriteBytes": "800000",
    }
    assert found["resolution"] == "0s" and len(found["points"]) == 40
    assert found["points"][0] == {
        "time": "2026-01-01T00:00:05Z",
        "cpuSeconds": 2.5,
        "cpuCores": 0.5,
        "memoryBytes": "1001",
        "memoryLimitBytes": "1073741824",
        "networkRxBytes": "5000",
        "networkTxBytes": "10000",
        "blockReadBytes": "15000",
        "blockWriteBytes": "20000",
    }
    assert {each["cpuCores"] for each in _usage(admin, used, 1)["points"]} == {2.0}


def test_rank_usage_from_a_time_on_and_with_fewer_points(admin: httpx.Client, used: str) -> None:
    later = _usage(admin, used, 0, startTime="2026-01-01T00:03:10Z")["points"]
    assert [each["time"] for each in later] == [f"2026-01-01T00:03:{second}Z" for second in ("10", "15", "20")]
    assert later[0]["cpuCores"] == 0.5
    few = _usage(admin, used, 0, max_points=10)
    assert 5 <= len(few["points"]) <= 10
    assert few["resolution"] == "32s" and few["points"][-1]["cpuSeconds"] == 100.0
    assert {each["memoryBytes"] for each in few["points"][:-1]} == {"1002"}, "the most in an interval"
    assert {each["cpuCores"] for each in few["points"]} == {0.5}


def test_rank_usage_without_samples_or_networks_says_so(admin: httpx.Client, used: str) -> None:
    none = _usage(admin, used, 2)
    assert none["points"] == [] and none["usage"]["lastSampleTime"] is None
    assert (none["usage"]["cpuSeconds"], none["usage"]["meanCpuCores"]) == (0, None)
    second = _usage(admin, used, 1)
    assert second["usage"]["networkRxBytes"] is None and second["points"][0]["networkTxBytes"] is None


def test_usage_of_a_job_sums_up_its_ranks_and_lists_them_by_what_they_used(
    admin: httpx.Client, user: httpx.Client, used: str
) -> None:
    def get(**params: Any) -> dict[str, Any]:
        answer = user.get(f"/batchJobs/{used}:getUsage", params=params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    found = get()
    assert found["attempt"] == 1 and found["totalSize"] == 3 and found["nextPageToken"] == ""
    assert [each["rank"] for each in found["ranks"]] == [0, 1, 2]
    assert found["ranks"][1] == _usage(admin, used, 1)["usage"]
    assert found["total"] == {
        "sampledRanks": 2,
        "cpuSeconds": 500.0,
        "meanCpuCores": 2.5,
        "memoryBytes": "3002",
        "maxPeakMemoryBytes": "2002",
        "sumPeakMemoryBytes": "3004",
        "networkRxBytes": "400000",
        "networkTxBytes": "800000",
        "blockReadBytes": "1200000",
        "blockWriteBytes": "1600000",
    }
    first = get(orderBy="cpu_seconds desc", pageSize=2)
    assert [each["rank"] for each in first["ranks"]] == [1, 0] and first["total"] == found["total"]
    rest = get(orderBy="cpuSeconds desc", pageSize=2, pageToken=first["nextPageToken"])
    assert [each["rank"] for each in rest["ranks"]] == [2] and rest["nextPageToken"] == ""
    assert [each["rank"] for each in get(filter="meanCpuCores > 1.5")["ranks"]] == [1]
    assert [each["rank"] for each in get(filter="NOT lastSampleTime:*")["ranks"]] == [2]
    assert get(readMask="rank,peak_memory_bytes")["ranks"][0] == {"rank": 0, "peakMemoryBytes": "1002"}
    assert get(attempt=2)["total"]["sampledRanks"] == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ranks/3/usage", 404),
        ("/ranks/x/usage", 404),
        ("/ranks/0/usage?attempt=2", 404),
        ("/ranks/0/usage?attempt=-1", 400),
        ("/ranks/0/usage?startTime=now", 400),
        ("/ranks/0/usage?maxPoints=-1", 400),
        ("/ranks/0/usage?pageSize=1", 400),
        (":getUsage?attempt=x", 400),
        (":getUsage?orderBy=points", 400),
        (":getUsage?pageToken=x", 400),
    ],
)
def test_usage_that_cannot_be_answered_is_refused(admin: httpx.Client, used: str, path: str, status: int) -> None:
    assert admin.get(f"/batchJobs/{used}{path}").status_code == status
    assert admin.get(f"/batchJobs/nothing{path.partition('?')[0]}").status_code == 404


def test_usage_of_another_account_is_not_there(stranger: httpx.Client, used: str) -> None:
    for path in (f"/batchJobs/{used}:getUsage", f"/batchJobs/{used}/ranks/0/usage"):
        assert stranger.get(path).status_code == 404
