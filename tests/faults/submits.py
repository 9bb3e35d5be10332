"""F-6 and F-7: the API killed under many submissions, and under many streams."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.faults.harness.chaos import crash
from tests.faults.harness.load import known_job, ticking_job
from tests.faults.harness.trial import Lab, Trial

LAB = Lab(slots=24, settings={"rate_limit_per_second": 0})


def kill_under_submissions(trial: Trial) -> None:
    """F-6."""
    for round_number in range(trial.scale.rounds):
        count = trial.scale.count(60, 500)
        with trial.fault(f"the API killed under {count} submissions at once"), ThreadPoolExecutor(count) as pool:
            asked = [pool.submit(_submit, trial, random.Random(f"{trial.seed} {round_number} {number}"))
                     for number in range(count)]  # fmt: skip
            for _ in range(3):
                time.sleep(trial.chance.uniform(0.05, 0.4))
                if not trial.platform.has_died("api"):
                    crash(trial.platform, "api")
                time.sleep(trial.scale.pick(4, 4))
            for each in asked:
                each.result()
        trial.rounds_done += 1


def kill_under_streams(trial: Trial) -> None:
    """F-7."""
    for _ in range(trial.scale.rounds):
        count = trial.scale.count(12, 90)
        jobs = [
            trial.submit_known(
                ticking_job(ranks=1, ticks=int(trial.chance.uniform(20, trial.scale.pick(60, 150))))
            )
            for _ in range(trial.scale.count(4, 15))
        ]
        with ThreadPoolExecutor(count) as pool:
            watched = [(job, pool.submit(_watch, trial, job)) for job in (jobs * count)[:count]]
            trial.wait_states(jobs[:1], {"RUNNING", "COMPLETED"}, 120)
            with trial.fault(f"the API killed with {count} streams open"):
                for _ in range(trial.scale.count(2, 5)):
                    if not trial.platform.has_died("api"):
                        crash(trial.platform, "api")
                    time.sleep(4)
            for job, watcher in watched:
                _compare(trial, job, watcher.result(timeout=300))
        trial.rounds_done += 1


def _watch(trial: Trial, job: str) -> list[int]:
    """The ids of all moves of a job as a client is told of them that goes on after the last one it knows."""
    seen: list[int] = []
    over = time.monotonic() + 240
    while time.monotonic() < over:
        try:
            for number, event in trial.client.events(f"/batchJobs/{job}:watch", str(seen[-1]) if seen else "0"):
                if event == "state":
                    seen.append(int(number))
                elif event == "end":
                    return seen
        except httpx.HTTPError:
            time.sleep(0.5)
    return seen


def _compare(trial: Trial, job: str, seen: list[int]) -> None:
    moves = (
        "SELECT e.id FROM job_events e JOIN jobs j ON j.id = e.job_id WHERE j.batch_job_id = %s AND e.rank IS NULL"
        " ORDER BY e.id"
    )
    made = [number for (number,) in trial.query(moves, job)]
    if seen != made:
        trial.broken("I6", f"a stream of job {job} told of moves {seen}; there were {made}")


def _submit(trial: Trial, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 1.5))
    job = known_job(ranks=1, seconds=0, lines=2)
    trial.client.submit(job.body, expect=job.expect, seconds=120)
