"""F-6 and F-7: the API killed under many submissions, and under many streams."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.faults.harness.chaos import crash, let_pass
from tests.faults.harness.load import known_job, ticking_job
from tests.faults.harness.trial import Lab, Trial

LAB = Lab(slots=32, settings={"rate_limit_per_second": 0, "max_streams_per_account": 300})


def kill_under_submissions(trial: Trial) -> None:
    """F-6."""
    for round_number in range(trial.scale.rounds):
        count = trial.scale.count(60, 500)
        with trial.fault(f"the API killed under {count} submissions at once"), ThreadPoolExecutor(count) as pool:
            asked = [pool.submit(_submit, trial, random.Random(f"{trial.seed} {round_number} {number}"))
                     for number in range(count)]  # fmt: skip
            for _ in range(trial.scale.count(2, 3)):
                let_pass(trial.chance.uniform(0.05, 0.4))
                if not trial.platform.has_died("api"):
                    crash(trial.platform, "api")
                let_pass(4)
            for each in asked:
                each.result()
        trial.rounds_done += 1


def kill_under_streams(trial: Trial) -> None:
    """F-7."""
    for _ in range(trial.scale.rounds):
        # In turn, so that every job has both sorts of streams on it.
        sorts = (_watch, _follow, _follow)
        count = trial.scale.count(12, 150)
        ticks = {}
        for _ in range(trial.scale.count(4, 15)):
            number = int(trial.chance.uniform(20, trial.scale.pick(60, 150)))
            ticks[trial.submit_known(ticking_job(ranks=2, ticks=number))] = number
        with ThreadPoolExecutor(count) as pool:
            jobs = [(job, sort) for job in ticks for sort in sorts]
            opened = [pool.submit(sort, trial, job, ticks[job]) for job, sort in (jobs * count)[:count]]
            trial.wait_states(list(ticks)[:1], {"RUNNING", "COMPLETED"}, 120)
            with trial.fault(f"the API killed with {count} streams open"):
                for _ in range(trial.scale.count(2, 5)):
                    if not trial.platform.has_died("api"):
                        crash(trial.platform, "api")
                    let_pass(4)
            for each in opened:
                if fault := each.result(timeout=300):
                    trial.broken("I6", fault)
        trial.rounds_done += 1


def _watch(trial: Trial, job: str, ticks: int) -> str:
    """The moves of a job as a client is told of them that goes on after the last one it knows; what is wrong."""
    del ticks
    seen = [int(number) for number, event, _ in _gone_on_with(trial, job, "watch", "0") if event == "state"]
    moves = (
        "SELECT e.id FROM job_events e JOIN jobs j ON j.id = e.job_id WHERE j.batch_job_id = %s AND e.rank IS NULL"
        " ORDER BY e.id"
    )
    made = [number for (number,) in trial.query(moves, job)]
    return "" if seen == made else f"a stream of job {job} told of moves {seen}; there were {made}"


def _follow(trial: Trial, job: str, ticks: int) -> str:
    """The output of a job likewise."""
    said: dict[int, list[str]] = {0: [], 1: []}
    for _, event, data in _gone_on_with(trial, job, "streamLogs"):
        for entry in data["entries"] if event == "log" else ():
            said[entry["rank"]].append(entry["message"])
    for rank, lines in said.items():
        if lines != [f"rank {rank} tick {number}" for number in range(ticks)]:
            return f"a stream of job {job} told of {len(lines)} lines of rank {rank}; there were {ticks}: {lines}"
    return ""


def _gone_on_with(trial: Trial, job: str, stream: str, last_id: str = "") -> Iterator[tuple[str, str, Any]]:
    """A stream's events to its end, however often it breaks off."""
    over = time.monotonic() + 240
    while time.monotonic() < over:
        try:
            for event_id, event, data in trial.client.events(f"/batchJobs/{job}:{stream}", last_id):
                yield event_id, event, data
                last_id = event_id or last_id
                if event == "end":
                    return
        except httpx.HTTPError:
            let_pass(0.5)


def _submit(trial: Trial, chance: random.Random) -> None:
    let_pass(chance.uniform(0, 1.5))
    job = known_job(ranks=1, seconds=0, lines=2)
    trial.client.submit(job.body, expect=job.expect, seconds=120)
