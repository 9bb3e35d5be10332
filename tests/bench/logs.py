"""What following output costs, each figure against the same without us in the same run.

    python -m tests.bench.logs [capture] [slowdown] [pages] [followers] [quiet] [--rounds 3]

capture    8 ranks that print as fast as they can: bytes a second into rows, against curl on the engine's endpoint
slowdown   seconds of a program that prints 10 MB/s for 20 s, against the same with no reader
pages      p50 of a page of 100 lines at the end of a log of 1 GB, against one at its start
followers  transactions a second of an API with 500 followers of one job, against one follower
quiet      memory of the supervisor for each of 100 ranks that print nothing
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import httpx

from tests.bench.printing import RawPrinters, as_fast_as_it_can, paced
from tests.bench.process_figures import resident_kib
from tests.lab.images import BUSYBOX, PYTHON, ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

_RANKS, _PRINTED_BYTES = 8, 40_000_000
_RATE, _RATE_SECONDS = 10_000_000, 20.0
_LOG_BYTES, _PAGES = 1_000_000_000, 101
_FOLLOWERS, _LOOK_SECONDS = 500, 10.0
_QUIET = 100


def capture(platform: Platform, rounds: int) -> dict[str, object]:
    """Rounds take turns, because a machine's speed drifts."""
    raw, ours = [], []
    for _ in range(rounds):
        raw.append(RawPrinters().read_rate(_RANKS, _PRINTED_BYTES))
        ours.append(_captured(platform))
    ratio = statistics.median(ours) / statistics.median(raw)
    return {"raw_mb_s": _millions(raw), "captured_mb_s": _millions(ours), "ratio": round(ratio, 3)}


def _captured(platform: Platform) -> float:
    """From the first rank's start until the last byte is stored and the job has ended."""
    client = platform.client
    job = client.shell(as_fast_as_it_can(_PRINTED_BYTES), image=BUSYBOX, ranks=_RANKS)["id"]
    done = client.wait_for(job, lambda seen: seen["state"] in ("COMPLETED", "FAILED"), 600, every=0.5)
    stored = platform.query(f"SELECT sum(byte_count) FROM log_chunks WHERE job_id = (SELECT id FROM jobs"
                            f" WHERE batch_job_id = '{job}')")  # fmt: skip
    assert stored == [(_RANKS * _PRINTED_BYTES,)], stored
    begun = min(datetime.fromisoformat(rank["startTime"]) for rank in client.ranks(job))
    client.delete(job)
    return _RANKS * _PRINTED_BYTES / (datetime.fromisoformat(done["endTime"]) - begun).total_seconds()


def slowdown(platform: Platform, rounds: int) -> dict[str, object]:
    """By the program's own clock."""
    raw, ours = [], []
    for _ in range(rounds):
        raw.append(RawPrinters().paced_seconds(_RATE, _RATE_SECONDS))
        job = platform.client.shell(_python(paced(_RATE, _RATE_SECONDS)), image=PYTHON)["id"]
        platform.client.wait_for(job, lambda seen: seen["state"] == "COMPLETED", 300, every=1.0)
        (last,) = platform.client.newest(job, 1)
        ours.append(float(last["message"].split()[1]))
        platform.client.delete(job)
    ratio = statistics.median(ours) / statistics.median(raw)
    return {"raw_s": round(statistics.median(raw), 2), "followed_s": round(statistics.median(ours), 2),
            "ratio": round(ratio, 3)}  # fmt: skip


def pages(platform: Platform, rounds: int) -> dict[str, object]:
    """In rows, and once more after the output has gone to the object store."""
    client = platform.client
    # No faster than it is read: an engine keeps the last 250 MB.
    job = client.shell(_python(paced(_RATE, _LOG_BYTES / _RATE)), image=PYTHON)["id"]
    client.wait_for(job, lambda seen: seen["state"] == "COMPLETED", 1500, every=1.0)

    def p50(**params: str) -> float:
        times = []
        for _ in range(_PAGES):
            begun = time.perf_counter()
            answer = client.http.get(f"/batchJobs/{job}:getLogs", params={"pageSize": 100, **params})
            times.append(time.perf_counter() - begun)
            assert len(answer.json()["entries"]) == 100
        return statistics.median(times)

    def compared() -> dict[str, float]:
        first = [p50(startFromHead="true") for _ in range(rounds)]
        last = [p50() for _ in range(rounds)]
        start, end = statistics.median(first), statistics.median(last)
        return {"start_ms": round(1000 * start, 2), "end_ms": round(1000 * end, 2), "ratio": round(end / start, 3)}

    found: dict[str, object] = {"in_rows": compared()}
    wait_until(lambda: platform.query("SELECT count(*) FROM log_chunks") == [(0,)], 600, "rows became an object")
    found["in_object"] = compared()
    return found


def followers(platform: Platform, rounds: int) -> dict[str, object]:
    """Of a job that prints ten lines a second."""
    del rounds
    client = platform.client
    job = client.shell("while :; do date; sleep 0.1; done", image=BUSYBOX, stopGracePeriod="0s")["id"]
    client.wait_for(job, lambda seen: seen["state"] == "RUNNING")
    one = asyncio.run(_transactions(platform, job, 1))
    many = asyncio.run(_transactions(platform, job, _FOLLOWERS))
    client.cancel(job)
    return {"followers": _FOLLOWERS, "one_per_s": one, "all_per_s": many, "ratio": round(many / one, 3)}


async def _transactions(platform: Platform, job: str, count: int) -> float:
    """Of the database, each second, while so many follow; all of them are told something."""
    told = [0] * count
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=platform.client.http.base_url, headers=platform.client.http.headers, timeout=60, limits=limits
    ) as client:

        async def follow(number: int) -> None:
            async with client.stream("GET", f"/batchJobs/{job}:streamLogs") as answer:
                assert answer.status_code == 200, answer.status_code
                async for _ in answer.aiter_bytes():
                    told[number] += 1

        following = [asyncio.create_task(follow(number)) for number in range(count)]
        while not all(told):
            for task in following:
                if task.done():
                    task.result()
            await asyncio.sleep(0.1)
        before, begun = _committed(platform), time.monotonic()
        await asyncio.sleep(_LOOK_SECONDS)
        rate = (_committed(platform) - before) / (time.monotonic() - begun)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    return round(rate, 1)


def _committed(platform: Platform) -> int:
    ask = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    return int(platform.query(ask)[0][0])


def quiet(platform: Platform, rounds: int) -> dict[str, object]:
    """Beside a first one, which makes the supervisor load what it needs."""
    del rounds
    client = platform.client
    jobs = [client.shell("sleep 600", image=BUSYBOX, stopGracePeriod="0s")["id"]]
    client.wait_for(jobs[0], lambda seen: seen["state"] == "RUNNING")
    before = resident_kib(platform.pid("supervisor"))
    jobs += [client.shell("sleep 600", image=BUSYBOX, stopGracePeriod="0s")["id"] for _ in range(_QUIET)]
    for job in jobs:
        client.wait_for(job, lambda seen: seen["state"] == "RUNNING", 300, every=0.5)
    followed = "SELECT count(*) FROM ranks WHERE state = 'RUNNING'"
    wait_until(lambda: platform.query(followed) == [(_QUIET + 1,)], 60, "all run")
    each = (resident_kib(platform.pid("supervisor")) - before) / _QUIET
    for job in jobs:
        client.cancel(job)
    for job in jobs:
        client.wait_end(job, 300)
    return {"ranks": _QUIET, "kib_each": round(each, 1)}


_PARTS: dict[str, Callable[[Platform, int], dict[str, object]]] = {
    part.__name__: part for part in (quiet, followers, slowdown, capture, pages)
}


def main() -> None:
    """Measure and print, a line of JSON for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *_PARTS])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ensure_busybox()
    servers = Servers()
    with tempfile.TemporaryDirectory() as folder:
        platform = Platform(
            servers,
            Path(folder),
            slots=_QUIET + 8,
            log_max_bytes=4 << 30,
            max_streams_per_account=_FOLLOWERS + 10,
            compact_after_seconds=240,
        )
        try:
            for name in options.parts or _PARTS:
                print(json.dumps({name: _PARTS[name](platform, options.rounds)}), flush=True)
        finally:
            platform.stop()
            servers.stop()


def _python(arguments: list[str]) -> str:
    return shlex.join(["exec", "python3", *arguments])


def _millions(rates: list[float]) -> float:
    return round(statistics.median(rates) / 1e6, 1)


if __name__ == "__main__":
    main()
