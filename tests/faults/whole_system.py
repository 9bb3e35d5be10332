"""F-32: everything killed at once, the engine and what it runs as well, and started again in any order."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from tests.faults.harness.engines import EnginesWanted
from tests.faults.harness.load import patient_job
from tests.faults.harness.trial import Lab, Trial

LAB = Lab(slots=24, engines=EnginesWanted(hosts=1))
_ORDERS = 6


def cut_power(trial: Trial) -> None:
    """F-32."""
    orders = list(itertools.permutations(("engine", "database", "broker", "processes")))
    trial.chance.shuffle(orders)
    trial.background(jobs=trial.scale.count(15, 150), per_second=2.0, may_fail=True)
    for order in orders[: trial.scale.count(1, _ORDERS)] * trial.scale.rounds:
        # Of what was running nothing can have ended well.
        job = trial.submit_known(patient_job(ranks=2, states=("FAILED",)))
        trial.wait_states([job], {"RUNNING"}, 120)
        with trial.fault(f"everything killed, started again as {', '.join(order)}"):
            for name in ("beat", "worker", "supervisor", "api"):
                trial.platform.kill(name)
            trial.engines.hosts[0].lose()
            trial.servers.kill(trial.servers.postgres)
            trial.servers.kill(trial.servers.valkey)
            starts: dict[str, Callable[[], None]] = {
                "engine": trial.engines.hosts[0].start_as_a_service,
                "database": lambda: trial.servers.start(trial.servers.postgres),
                "broker": lambda: trial.servers.start(trial.servers.valkey),
                "processes": lambda: _start_all(trial),
            }
            for name in order:
                starts[name]()
        trial.wait_states([job], {"FAILED"}, 180)
        trial.rounds_done += 1


def _start_all(trial: Trial) -> None:
    for name in trial.chance.sample(("api", "worker", "supervisor", "beat"), 4):
        trial.platform.start(name)
