"""How fast placement decides: ranks per second on one core, and the time of a pass against the jobs it looks at.

    python -m tests.bench.placement [--nodes 1000] [--slots 100] [--rounds 3] [--save]

No database and no engine: `plan_pass` alone. Four pools: an empty one that mixed gangs fill; an empty one that
jobs of a single rank fill, which is the dearest way to place a rank; one that is all but full, where the small
pass the big; and a full one in which every candidate waits, one of them with a reservation, while 100,000 ranks
hold the slots. `--save` writes `placement.csv` and `placement.svg` beside this file.
"""

from __future__ import annotations

import argparse
import csv
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from core.placement.planning import plan_pass
from core.placement.values import Need, NodeRoom, Release, Snapshot, WaitingJob
from tests.bench.log_plot import LogPlot

SIZES = (1, 1, 1, 1, 2, 4, 8, 8, 16, 32, 64, 250)
CANDIDATES = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
_HERE = Path(__file__).resolve().parent


def make_nodes(count: int, slots: int, free: Callable[[int], int]) -> tuple[NodeRoom, ...]:
    """Nodes of two CPUs and 4 GiB for each slot."""
    return tuple(
        NodeRoom(
            id=number,
            name=f"node-{number}",
            slots=slots,
            free=free(number),
            cpu_milli=slots * 2000,
            cpu_free=free(number) * 2000,
            memory_bytes=slots << 32,
            memory_free=free(number) << 32,
            cpu_share=2000,
            memory_share=1 << 32,
            labels={"zone": "ab"[number % 2]},
        )
        for number in range(1, count + 1)
    )


def make_jobs(count: int, *, waited: float = 0.0) -> tuple[WaitingJob, ...]:
    """Mixed gangs of ten accounts, some with needs of their own, some that name a zone."""
    draw = random.Random(count)
    needs = (Need(), Need(), Need(), Need(1000, 1 << 31), Need(4000, 1 << 33))
    zones: tuple[tuple[tuple[str, str], ...], ...] = ((), (), (), (("zone", "a"),))
    return tuple(
        WaitingJob(
            f"job-{number:06}",
            1,
            draw.choice(SIZES),
            waited + draw.random(),
            account=f"account-{draw.randrange(10)}",
            priority=draw.choice((0, 0, 0, 1)),
            need=draw.choice(needs),
            labels=draw.choice(zones),
            run_seconds=draw.choice((None, 60.0, 600.0)),
        )
        for number in range(count)
    )


def filling(nodes: int, slots: int, count: int) -> Snapshot:
    """An empty pool."""
    return Snapshot(1, make_nodes(nodes, slots, lambda _: slots), make_jobs(count), may_span=True)


def singles(nodes: int, slots: int, count: int) -> Snapshot:
    """An empty pool, and jobs of one rank."""
    jobs = tuple(replace(job, num_ranks=1) for job in make_jobs(count))
    return Snapshot(1, make_nodes(nodes, slots, lambda _: slots), jobs)


def full(nodes: int, slots: int, count: int) -> Snapshot:
    """No slot is free, every one is held by a job of its own, and all have waited for long."""
    draw = random.Random(1)
    releases = tuple(
        Release(node, 1, draw.choice((float("inf"), draw.uniform(0, 600))), draw.uniform(0, 600))
        for node in range(1, nodes + 1)
        for _ in range(slots)
    )
    jobs = make_jobs(count, waited=100.0)
    return Snapshot(1, make_nodes(nodes, slots, lambda _: 0), jobs, releases=releases, may_span=True)


def nearly_full(nodes: int, slots: int, count: int) -> Snapshot:
    """Each node has up to three slots free."""
    return Snapshot(1, make_nodes(nodes, slots, lambda node: node % 4), make_jobs(count), may_span=True)


def measure(snapshot: Snapshot, rounds: int) -> tuple[float, int, int]:
    """Seconds of a pass (the median), jobs placed, ranks placed."""
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        plan = plan_pass(snapshot)
        seconds.append(time.process_time() - started)
    return statistics.median(seconds), len(plan.placements), sum(len(each.nodes) for each in plan.placements)


def main() -> None:
    """Measure and print; with `--save`, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    print(f"{asked.nodes} nodes x {asked.slots} slots, CPU time of one core, median of {asked.rounds}")
    rows: list[tuple[str, int, float, int, int]] = []
    for make in (filling, singles, nearly_full, full):
        for count in CANDIDATES:
            seconds, jobs, ranks = measure(make(asked.nodes, asked.slots, count), asked.rounds)
            rows.append((make.__name__, count, seconds, jobs, ranks))
            print(
                f"{make.__name__:12} {count:6} candidates {seconds * 1000:9.1f} ms"
                f" {seconds / count * 1e6:8.1f} us each, {jobs:6} jobs and {ranks:6} ranks placed,"
                f" {ranks / seconds:10.0f} ranks/s"
            )
    if asked.save:
        save(rows)


def save(rows: Sequence[tuple[str, int, float, int, int]]) -> None:
    """The figures as a table and as a picture: pass time against candidates, both axes in powers of ten."""
    with (_HERE / "placement.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("pool", "candidates", "pass_seconds", "jobs_placed", "ranks_placed"))
        writer.writerows(
            (name, count, f"{seconds:.6f}", jobs, ranks) for name, count, seconds, jobs, ranks in rows
        )
    (_HERE / "placement.svg").write_text(picture(rows))


def picture(rows: Sequence[tuple[str, int, float, int, int]]) -> str:
    """An SVG with one line for each pool."""
    plot = LogPlot(first=(100, 1), per_power=(190, 75))
    parts = []
    for number, (name, colour) in enumerate(
        zip(dict.fromkeys(row[0] for row in rows), ("#0b6", "#090", "#06c", "#c30"), strict=False)
    ):
        points = " ".join(
            f"{plot.across(row[1]):.1f},{plot.down(row[2] * 1000):.1f}" for row in rows if row[0] == name
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="90" y="{40 + 16 * number}" fill="{colour}">{name.replace("_", " ")}</text>')
    return plot.svg(
        parts,
        columns=(100, 1000, 10_000),
        times=(1, 10, 100, 1000, 10_000),
        below="queued jobs that the pass looks at",
    )


if __name__ == "__main__":
    main()
