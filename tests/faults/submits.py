"""F-6: the API killed while it takes many jobs; every client asks again with its key."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

from tests.faults.harness.chaos import crash
from tests.faults.harness.load import known_job
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


def _submit(trial: Trial, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 1.5))
    job = known_job(ranks=1, seconds=0, lines=2)
    trial.client.submit(job.body, expect=job.expect, seconds=120)
