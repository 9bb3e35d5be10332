"""What sampling costs: processor time of supervisor and engine per second, with N quiet ranks, sampled and not.

    python -m tests.bench.usage_cost [--ranks 32] [--seconds 60] [--usage-seconds 5] [--rounds 3]

Two platforms take turns on the same engine, one that samples and one that does not; each runs a job of N ranks
that sleep. The engine is every dockerd, containerd and shim of this machine: nothing else may run on it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.bench.process_figures import cpu_seconds
from tests.faults.harness.chaos import let_pass
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import Platform
from tests.lab.servers import Servers

_ENGINE = frozenset({"dockerd", "containerd", "containerd-shim"})


def engine_pids() -> list[int]:
    """The processes that an engine consists of."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            # The kernel keeps fifteen characters of a name.
            if folder.name.isdecimal() and (folder / "comm").read_text().strip().startswith(tuple(_ENGINE)):
                found.append(int(folder.name))
    return found


def costs(platform: Platform, ranks: int, seconds: float) -> dict[str, float]:
    """Of one run, once all ranks have been running for a while: milliseconds of processor time per second."""
    job = platform.client.shell("sleep 100000", image=BUSYBOX, ranks=ranks, stopGracePeriod="0s")["id"]
    platform.client.wait_for(job, lambda seen: seen["state"] == "RUNNING", 600, every=1.0)
    let_pass(15)  # the first samples of a rank come faster
    engine = engine_pids()
    began = time.monotonic()
    before = cpu_seconds(platform.pid("supervisor")), sum(map(_alone, engine))
    let_pass(seconds)
    after = cpu_seconds(platform.pid("supervisor")), sum(map(_alone, engine))
    passed = time.monotonic() - began
    usage: dict[str, Any] = platform.client.http.get(f"/batchJobs/{job}:getUsage", params={"pageSize": 1}).json()
    points = platform.client.http.get(f"/batchJobs/{job}/ranks/0/usage").json()["points"]
    platform.client.cancel(job)
    platform.client.wait_end(job, 600)
    platform.wait_at_rest(600)
    return {
        "supervisor_ms": 1000 * (after[0] - before[0]) / passed,
        "engine_ms": 1000 * (after[1] - before[1]) / passed,
        "sampled_ranks": usage["total"]["sampledRanks"],
        "points_of_rank_0": len(points),
    }


def _alone(pid: int) -> float:
    """Without the children, which are counted themselves."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--usage-seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ensure_busybox()
    servers = Servers()
    runs: dict[str, list[dict[str, float]]] = {"sampled": [], "not_sampled": []}
    try:
        for _ in range(options.rounds):
            for name, period in (("sampled", options.usage_seconds), ("not_sampled", 0.0)):
                runs[name].append(_run(servers, options.ranks, options.seconds, period))
    finally:
        servers.stop()
    for name, found in runs.items():
        medians = {key: round(statistics.median(each[key] for each in found), 1) for key in found[0]}
        print(json.dumps({"ranks": options.ranks, "run": name, **medians}), flush=True)


def _run(servers: Servers, ranks: int, seconds: float, usage_seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        platform = Platform(servers, Path(folder), slots=max(ranks, 2), usage_seconds=usage_seconds)
        try:
            return costs(platform, ranks, seconds)
        finally:
            platform.stop()


if __name__ == "__main__":
    main()
