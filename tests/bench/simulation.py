"""A whole platform over a fleet of engines that are not there: mixed gangs of several accounts, judged and timed.

    python -m tests.bench.simulation [--nodes 20] [--slots 10] [--ranks 300] [--minutes 10] [--listing 10] [--save]

Real: the api, worker, supervisor and beat processes, Postgres, Valkey. Not real: the engines
(tests/lab/fake_engine, in a process of its own). Jobs come through the API; `simulation_checker` says whether all
went right, and the exit status is 1 where it did not. `--save` adds a line to `simulation.csv`, and keeps the
scheduling rounds in a file beside it, of which `simulation_plot` makes a picture.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from tests.bench import simulation_checker as checker
from tests.bench.process_figures import cpu_seconds, parent_of, peak_mib
from tests.bench.simulated_work import IMAGE, LONGEST_SECONDS, SHARES, SimulatedJob, make_jobs
from tests.bench.submitter import Submitter
from tests.bench.timed_worker import COLUMNS
from tests.lab.fake_engine.process import FleetProcess
from tests.lab.platform import COMMANDS, Platform, wait_until
from tests.lab.row_sampler import RowSampler, waits
from tests.lab.servers import Servers

_HERE = Path(__file__).resolve().parent
_UNFINISHED = "SELECT count(*) FROM jobs WHERE state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"


@dataclass(frozen=True)
class Outcome:
    """What a simulation came to. `faults` is empty where everything went right."""

    faults: Sequence[str]
    figures: dict[str, Any]
    passes: Sequence[Sequence[float]]


def simulate(
    servers: Servers,
    folder: Path,
    *,
    nodes: int,
    slots: int,
    ranks: int,
    seed: int = 4,
    longest_seconds: float = LONGEST_SECONDS,
    deadline_seconds: float = 600.0,
    bound_seconds: float = 10.0,
    **settings: Any,
) -> Outcome:
    """Run the jobs to their ends. Raises AssertionError, with where everything stands, when the time is up."""
    passes = folder / "passes.csv"
    sockets = folder / "e"
    sockets.mkdir()
    fleet = FleetProcess(nodes, sockets, IMAGE)
    platform: Platform | None = None
    try:
        platform = Platform(
            servers,
            folder,
            slots=slots,
            endpoints=fleet.endpoints,
            network="host",
            commands={"worker": ("-m", "tests.bench.timed_worker", str(passes))},
            **{
                "rate_limit_per_second": 0,
                "max_live_jobs": 10**8,
                "max_live_ranks": 10**8,
                "network_range": "10.0.0.0/8",
                "solo_network": "192.168.0.0/16",
                **settings,
            },
        )
        platform.query("UPDATE node_pools SET offered_to_all = true RETURNING 1")
        jobs = make_jobs(ranks, seed=seed, biggest=nodes * slots // 2, longest_seconds=longest_seconds)
        return _run(platform, fleet, jobs, slots, passes, deadline_seconds, bound_seconds)
    finally:
        if platform is not None:
            platform.stop()
        fleet.close()


def _run(
    platform: Platform,
    fleet: FleetProcess,
    jobs: Sequence[SimulatedJob],
    slots: int,
    passes: Path,
    deadline_seconds: float,
    bound_seconds: float,
) -> Outcome:
    others = [platform.new_account(f"other-{n}", f"o{n}@other.test") for n in range(1, len(SHARES))]
    clients = [platform.client, *others]
    _wait(platform, "SELECT count(*) FROM nodes WHERE seen_at IS NULL", 120, "every node was seen")
    idle = {name: cpu_seconds(pid) for name, pid in _pids(platform, fleet).items()}
    submitter = Submitter(clients)
    sampler = RowSampler(platform.database_url, bound_seconds)
    sampler.start()
    began = time.monotonic()
    try:
        submitter.submit(jobs)
        left = max(deadline_seconds - (time.monotonic() - began), 1.0)
        _wait(platform, _UNFINISHED, left, "every job has ended")
        ended = time.monotonic() - began
        _wait(
            platform, "SELECT count(*) FROM ranks WHERE node_id IS NOT NULL AND released_at IS NULL", 60, "no slot"
        )
        _wait(platform, "SELECT count(*) FROM gang_networks", 60, "no gang network's row is left")
        at_rest = time.monotonic() - began
    finally:
        sampler.stop()
        for client in others:
            client.close()
    cpu = {name: cpu_seconds(pid) - idle[name] for name, pid in _pids(platform, fleet).items()}
    memory = {name: peak_mib(pid) for name, pid in _pids(platform, fleet).items() if name != "postgres"}
    with psycopg.connect(platform.database_url, autocommit=True) as connection:
        started = connection.execute("SELECT count(*) FROM ranks WHERE started_at IS NOT NULL").fetchone()
        waited = waits(connection)
        tally = fleet.tally()
        faults = [
            *submitter.faults,
            *sampler.faults,
            *checker.check_ends(connection, submitter.accepted),
            *checker.check_tally(tally, slots, started[0] if started else 0),
            *checker.check_fairness(waited, platform.client.account, 5.0),
            *(f"{found.name} is left" for found in [*platform.containers(), *platform.gang_networks()]),
        ]
        rates = checker.rates(connection)
    lines = [[float(part) for part in line.split(",")] for line in passes.read_text().splitlines()]
    count = sum(job.ranks for job in jobs)
    figures = {
        "nodes": len(platform.endpoints),
        "slots": slots,
        "jobs": len(jobs),
        "ranks": count,
        "ended_as": dict(Counter(job.end for job in jobs)),
        "submit_seconds": round(submitter.seconds, 1),
        "seconds": round(ended, 1),
        "at_rest_seconds": round(at_rest, 1),
        "ranks_per_second": round(count / ended, 1),
        "best_5s_per_second": {name: round(rate) for name, rate in rates.items()},
        "most_running": tally["mostRunning"],
        "most_held": sampler.most_held,
        "most_on_one": tally["mostOnOne"],
        "samples": sampler.count,
        "longest_sample_gap": round(sampler.longest_gap, 2),
        "longest_half_started": round(sampler.longest_half, 2),
        "waits": {account: (n, round(half, 1), round(most, 1)) for account, (n, half, most) in waited.items()},
        "cpu_ms_per_rank": {name: round(spent * 1000 / count, 2) for name, spent in cpu.items()},
        "peak_mib": memory,
    }
    return Outcome(faults, figures, lines)


def _wait(platform: Platform, counting: str, seconds: float, what: str) -> None:
    wait_until(lambda: platform.query(counting)[0][0] == 0, seconds, what, every=0.2)


def _pids(platform: Platform, fleet: FleetProcess) -> dict[str, int]:
    postgres = platform.query("SELECT pg_backend_pid()")[0][0]
    parent = parent_of(postgres)
    return {**{name: platform.pid(name) for name in COMMANDS}, "fleet": fleet.pid, "postgres": parent}


def describe_passes(passes: Sequence[Sequence[float]]) -> list[str]:
    """Median milliseconds of a round, by how many candidates it looked at."""
    said = []
    for low, high in ((1, 10), (10, 50), (50, 200), (200, 499), (499, 10**9)):
        found = [each for each in passes if low <= each[0] < high]
        if found:
            parts = ", ".join(
                f"{name.removesuffix('_ms')} {median(each[at] for each in found):.1f}"
                for at, name in enumerate(COLUMNS)
                if at >= 3
            )
            whole = median(sum(each[3:]) for each in found)
            said.append(
                f"  {low:4} to {min(high, 501) - 1:4} candidates: {len(found):5} rounds, {whole:7.1f} ms ({parts})"
            )
    return said


def main() -> int:
    """Simulate, print, and keep; 1 where a fault was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--slots", type=int, default=10)
    parser.add_argument("--ranks", type=int, default=300)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--longest", type=float, default=LONGEST_SECONDS, help="seconds that a job runs at most")
    parser.add_argument("--minutes", type=float, default=10.0, help="give up after so many")
    parser.add_argument("--bound", type=float, default=10.0, help="seconds of a gang started by halves")
    parser.add_argument("--threads", type=int, default=8, help="of the worker")
    parser.add_argument("--listing", type=float, default=10.0, help="seconds between listings of a node")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--note", default="", help="kept with the run")
    asked = parser.parse_args()
    servers = Servers()
    try:
        with tempfile.TemporaryDirectory(prefix="ls-sim-") as folder:
            outcome = simulate(
                servers,
                Path(folder),
                nodes=asked.nodes,
                slots=asked.slots,
                ranks=asked.ranks,
                seed=asked.seed,
                longest_seconds=asked.longest,
                deadline_seconds=asked.minutes * 60,
                bound_seconds=asked.bound,
                worker_threads=asked.threads,
                listing_seconds=asked.listing,
                facts_seconds=3 * asked.listing,
            )
    finally:
        servers.stop()
    for name, figure in outcome.figures.items():
        print(f"{name:22} {figure}")
    print("\n".join(["scheduling rounds", *describe_passes(outcome.passes)]))
    print("\n".join(["faults:", *outcome.faults[:50]]) if outcome.faults else "no fault found")
    if asked.save:
        save(outcome, asked.note)
    return 1 if outcome.faults else 0


def save(outcome: Outcome, note: str) -> None:
    """A line for the run, and a file of its scheduling rounds."""
    path = _HERE / "simulation.csv"
    flat = {
        name: json.dumps(value) if isinstance(value, dict) else value for name, value in outcome.figures.items()
    }
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow([*flat, "faults", "note"])
        writer.writerow([*flat.values(), len(outcome.faults), note])
    with (_HERE / "simulation_passes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *outcome.passes])


if __name__ == "__main__":
    sys.exit(main())
