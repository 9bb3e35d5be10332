"""What ranks used, by the platform's figures and by their own: while they run, after their end, through a kill."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest

from tests.lab.api_client import ApiClient
from tests.lab.images import PYTHON
from tests.lab.platform import Platform, wait_until

_MIB = 1 << 20
_HELD_MIB, _WRITTEN_MIB, _SENT_MIB = 200, 24, 3
#: How far engine and program may be apart: what the interpreter and the init do besides, and what happens between
#: the last sample and the program's own look at its clock.
_SLACK_SECONDS = 2.0

#: Holds memory, writes past the page cache and sends to the other rank. Burns two seconds of CPU by its own clock,
#: the second one when it is told to; then waits to be told to end, so that there is a sample after all of that,
#: however slow the machine is.
_PROGRAM = f"""
import mmap, os, socket, time
held = bytearray(os.urandom(1 << 20)) * {_HELD_MIB}
block = mmap.mmap(-1, 1 << 20)
file = os.open("/tmp/blocks", os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
for _ in range({_WRITTEN_MIB}):
    os.write(file, block)
os.fsync(file)
rank = os.environ["RANK"]
if rank == "0":
    server = socket.create_server(("", 4000))
    other, _ = server.accept()
    got = 0
    while piece := other.recv(1 << 16):
        got += len(piece)
    print("received", got, flush=True)
else:
    while True:
        try:
            with socket.create_connection(("rank-0", 4000), timeout=5) as other:
                other.sendall(bytes({_SENT_MIB} << 20))
            break
        except OSError:
            time.sleep(0.2)
for seconds, told in ((1, "/tmp/go"), (2, "/tmp/end")):
    while time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID) < seconds:
        pass
    burnt = time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)
    print("burnt" if seconds == 2 else "half", burnt, flush=True)
    while not os.path.exists(told):
        time.sleep(0.05)
"""


def usage_of(client: ApiClient, job: str, rank: int, **params: Any) -> dict[str, Any]:
    answer = client.http.get(f"/batchJobs/{job}/ranks/{rank}/usage", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def said(client: ApiClient, job: str, rank: int, word: str) -> float:
    """The number that a rank has printed after a word; 0 where it has not yet."""
    found = re.search(rf"^{word} (\S+)$", "\n".join(client.lines(job, rank=rank)), re.MULTILINE)
    return float(found[1]) if found else 0.0


def tell(platform: Platform, job: str, file: str) -> None:
    """Make a file in each rank's container."""
    for container in platform.containers_of(job):
        platform.engine.containers.get(container.id).exec_run(["touch", file])


def counted_blocks(platform: Platform, job: str) -> int:
    """Bytes written by all ranks, as the engine says itself."""
    counted = 0
    for container in platform.containers_of(job):
        stats = platform.engine.api.stats(container.id, stream=False)
        entries = stats["blkio_stats"]["io_service_bytes_recursive"] or ()
        counted += sum(entry["value"] for entry in entries if entry["op"] in ("Write", "write"))
    return counted


@pytest.fixture(scope="module")
def blocks() -> list[int]:
    """What the engine counted of the blocks that were written."""
    return []


@pytest.fixture(scope="module")
def ended(platform: Platform, blocks: list[int]) -> str:
    """A job of two ranks that has done all of that, with a supervisor that was killed on its way."""
    client = platform.client
    job: str = client.create(
        imageRef=PYTHON,
        numRanks=2,
        files={"use.py": _PROGRAM},
        resources={"cpu": "1", "memory": "512Mi"},
        pythonExecutor={"targetType": "FILENAME", "target": "use.py"},
    )["id"]
    wait_until(
        lambda: all(usage_of(client, job, rank)["points"] for rank in (0, 1)),
        120,
        "both ranks have been sampled while they run",
    )
    assert client.get(job)["state"] == "RUNNING"
    platform.kill("supervisor")
    before = usage_of(client, job, 0)["points"]
    tell(platform, job, "/tmp/go")
    platform.start("supervisor")
    burnt = [0.0, 0.0]

    def is_counted() -> bool:
        burnt[:] = [said(client, job, rank, "burnt") for rank in (0, 1)]
        return all(burnt) and all(
            usage_of(client, job, rank)["usage"]["cpuSeconds"] >= burnt[rank] - 0.05 for rank in (0, 1)
        )

    wait_until(is_counted, 120, "what was burnt is counted, by the supervisor that took over", every=0.5)
    points = usage_of(client, job, 0)["points"]
    assert points[: len(before)] == before and len(points) > len(before)
    blocks.append(counted_blocks(platform, job))
    tell(platform, job, "/tmp/end")
    done = client.wait_end(job, 120)
    assert done["state"] == "COMPLETED", done["status"]
    return job


def test_cpu_and_memory_are_what_the_program_says_itself(client: ApiClient, ended: str) -> None:
    for rank in (0, 1):
        burnt = said(client, ended, rank, "burnt")
        usage = usage_of(client, ended, rank)["usage"]
        assert burnt - 0.05 <= usage["cpuSeconds"] <= burnt + _SLACK_SECONDS
        assert _HELD_MIB * _MIB <= int(usage["peakMemoryBytes"]) <= int(usage["memoryLimitBytes"]) == 512 * _MIB


def test_network_is_what_the_ranks_sent_each_other(client: ApiClient, ended: str) -> None:
    assert said(client, ended, 0, "received") == _SENT_MIB * _MIB
    received, sent = (usage_of(client, ended, rank)["usage"] for rank in (0, 1))
    for count in (received["networkRxBytes"], sent["networkTxBytes"]):
        assert _SENT_MIB * _MIB <= int(count) <= 2 * _SENT_MIB * _MIB


def test_blocks_are_what_the_engine_counts(client: ApiClient, ended: str, blocks: list[int]) -> None:
    written = sum(int(usage_of(client, ended, rank)["usage"]["blockWriteBytes"]) for rank in (0, 1))
    assert written == blocks[0]
    # Kernels with cgroup v1 and no limit on any device count nothing (docs/jobs.md).
    assert written == 0 or written >= 2 * _WRITTEN_MIB * _MIB


def test_points_are_in_order_and_between_start_and_end(client: ApiClient, ended: str) -> None:
    rank = client.http.get(f"/batchJobs/{ended}/ranks/0").json()
    points = usage_of(client, ended, 0)["points"]
    times = [datetime.fromisoformat(point["time"]) for point in points]
    assert times == sorted(set(times))
    assert datetime.fromisoformat(rank["startTime"]) <= times[0]
    assert times[-1] <= datetime.fromisoformat(rank["endTime"])
    counted = [point["cpuSeconds"] for point in points]
    assert counted == sorted(counted)
    assert all(point["cpuCores"] <= 1.5 for point in points), "one core is what it may have"
    last = usage_of(client, ended, 0, startTime=points[-1]["time"])
    assert last["points"] == points[-1:]


def test_job_usage_is_the_sum_of_its_ranks(client: ApiClient, ended: str) -> None:
    found = client.http.get(f"/batchJobs/{ended}:getUsage").json()
    ranks = [usage_of(client, ended, rank)["usage"] for rank in (0, 1)]
    assert found["ranks"] == ranks and found["total"]["sampledRanks"] == 2
    assert found["total"]["cpuSeconds"] == pytest.approx(sum(rank["cpuSeconds"] for rank in ranks))
    peaks = [int(rank["peakMemoryBytes"]) for rank in ranks]
    assert found["total"]["maxPeakMemoryBytes"] == str(max(peaks))
    assert found["total"]["sumPeakMemoryBytes"] == str(sum(peaks))


def test_usage_goes_with_its_job(client: ApiClient, platform: Platform, ended: str) -> None:
    kept = f"SELECT count(*) FROM rank_usage WHERE job_id = '{ended}'"
    assert platform.query(kept) == [(2,)]
    client.delete(ended)
    wait_until(lambda: platform.query(kept) == [(0,)], 30, "its usage is gone with the job")
    assert client.http.get(f"/batchJobs/{ended}:getUsage").status_code == 404
