"""The judge of a simulation when it is over: rows against what was asked for, and the fleet's tally.

What rows tell while it runs, and by themselves, is `tests.lab.row_sampler`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from tests.bench.simulated_work import SimulatedJob
from tests.lab.row_sampler import check_job, read_jobs


def check_ends(connection: psycopg.Connection[Any], wanted: Mapping[tuple[str, str], SimulatedJob]) -> list[str]:
    """Faults of the jobs' ends. `wanted`: by account and id, everything that was accepted.

    A job that was to be cancelled may have been over before: only ours end by themselves, so none.
    """
    found = {job.key: job for job in read_jobs(connection)}
    faults = [f"{key} is gone" for key in wanted.keys() - found.keys()]
    faults += [f"{key} was never asked for" for key in found.keys() - wanted.keys()]
    for key in wanted.keys() & found.keys():
        asked, job = wanted[key], found[key]
        faults += check_job(job)
        if job.state != asked.end:
            faults.append(f"{key} is {job.state}, not {asked.end}: {job.status}")
        if job.num_ranks != asked.ranks:
            faults.append(f"{key} has {job.num_ranks} ranks, not {asked.ranks}")
        if job.attempt != 1:
            faults.append(f"{key} took {job.attempt} attempts")
    return sorted(faults)


def check_tally(tally: Mapping[str, Any], slots: int, started_ranks: int) -> list[str]:
    """Faults that the fleet saw; `started_ranks` are those that the rows say were started."""
    actions: Mapping[str, int] = tally["actions"]
    faults = [f"{name} was created more than once" for name in tally["repeated"]]
    if tally["mostOnOne"] > slots:
        faults.append(f"{tally['mostOnOne']} ran on one engine of {slots} slots")
    if actions.get("create", 0) != actions.get("destroy", 0):
        faults.append(f"{actions.get('create', 0)} containers were made and {actions.get('destroy', 0)} removed")
    if actions.get("start", 0) != actions.get("die", 0) or actions.get("start", 0) < started_ranks:
        faults.append(f"{actions.get('start', 0)} started, {actions.get('die', 0)} ended; rows: {started_ranks}")
    return faults


def check_fairness(found: Mapping[str, tuple[int, float, float]], greedy: str, slack_seconds: float) -> list[str]:
    """Whoever asks for less waits no longer than who asks for most."""
    bound = found[greedy][1] + slack_seconds if greedy in found else 0.0
    return [
        f"{account} waited {half:.1f} s for half of its jobs, {greedy}, which asked for more, {bound:.1f} s"
        for account, (_, half, _) in found.items()
        if half > bound
    ]


def rates(connection: psycopg.Connection[Any], window_seconds: int = 5) -> dict[str, float]:
    """Ranks per second that were placed, started, ended and freed, in the best window of so many seconds."""
    found: dict[str, float] = {}
    times = sql.SQL("SELECT extract(epoch FROM {0})::float8 FROM ranks WHERE {0} IS NOT NULL ORDER BY 1")
    for name in ("placed_at", "started_at", "ended_at", "released_at"):
        rows = connection.execute(times.format(sql.Identifier(name)))
        moments: Sequence[float] = [row[0] for row in rows]
        best, begin = 0, 0
        for end, moment in enumerate(moments):
            while moments[begin] < moment - window_seconds:
                begin += 1
            best = max(best, end - begin + 1)
        found[name.removesuffix("_at")] = best / window_seconds
    return found
