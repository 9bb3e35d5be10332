"""F-32: everything killed at once, and started again in any order."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from tests.faults.harness.load import ticking_job
from tests.faults.harness.trial import Lab, Trial

LAB = Lab(slots=24)


def cut_power(trial: Trial) -> None:
    """F-32, but for the engine, which here serves others as well."""
    orders = list(itertools.permutations(("database", "broker", "processes")))
    trial.chance.shuffle(orders)
    trial.background(jobs=trial.scale.count(15, 150), per_second=2.0)
    for order in orders[: trial.scale.count(1, 6)] * trial.scale.rounds:
        job = trial.submit_known(ticking_job(ranks=2, ticks=int(trial.scale.pick(30, 100))))
        trial.wait_states([job], {"RUNNING"}, 120)
        with trial.fault(f"everything killed, started again as {', '.join(order)}"):
            for name in ("beat", "worker", "supervisor", "api"):
                trial.platform.kill(name)
            trial.servers.kill(trial.servers.postgres)
            trial.servers.kill(trial.servers.valkey)
            starts: dict[str, Callable[[], None]] = {
                "database": lambda: trial.servers.start(trial.servers.postgres),
                "broker": lambda: trial.servers.start(trial.servers.valkey),
                "processes": lambda: _start_all(trial),
            }
            for name in order:
                starts[name]()
        trial.wait_states([job], {"COMPLETED"}, 180)
        trial.rounds_done += 1


def _start_all(trial: Trial) -> None:
    for name in trial.chance.sample(("api", "worker", "supervisor", "beat"), 4):
        trial.platform.start(name)
