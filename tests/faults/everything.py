"""F-33: what is done elsewhere one at a time, at random, for as long as is asked for.

What is done never lasts as long as it takes for a node to be given up, and an attempt that an engine's restart
ended is made again, so every job must come to the end that was known before it began. A minute is a round: runs
of an hour each, with other seeds, add up in the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.faults.harness.chaos import crash, freeze, let_pass, thaw
from tests.faults.harness.engines import EnginesWanted
from tests.faults.harness.load import sleeping_job
from tests.faults.harness.trial import Lab, Trial
from tests.lab.hosts import Host

_CALL_SECONDS = 8
LAB = Lab(
    slots=10,
    settings={
        "engine_timeout_seconds": _CALL_SECONDS,
        "facts_seconds": 5,
        "lost_after_seconds": 240,
        "rate_limit_per_second": 0,
    },
    # Not with live restore, which F-17 is about: what an engine's end does to its ranks is to happen here.
    engines=EnginesWanted(hosts=2),
)
_PROCESSES = ("api", "worker", "supervisor", "beat")
#: Between two things that are done.
_PAUSE_SECONDS = (2.0, 20.0)
_JOBS_PER_SECOND = 0.5


class Chaos:
    """What may be done to a trial's platform. Each call lasts until that has been put right again."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._chance = trial.chance
        self.deeds: tuple[tuple[int, Callable[[], None]], ...] = (
            (5, self.crash_process),
            (2, self.freeze_process),
            (2, self.deploy_process),
            (2, self.kill_broker),
            (1, self.empty_broker),
            (2, self.kill_database),
            (2, self.hang_up_database),
            (2, self.kill_engine),
            (1, self.freeze_engine),
            (2, self.cut_cable),
            (2, self.cancel_a_job),
        )

    def do_something(self) -> None:
        """One deed, by the seed."""
        weights, deeds = zip(*self.deeds, strict=True)
        (deed,) = self._chance.choices(deeds, weights)
        self._trial.client.mark("fault", fault=deed.__name__)
        try:
            deed()
        finally:
            self._trial.client.mark("healed")

    def crash_process(self) -> None:
        name = self._chance.choice(_PROCESSES)
        if not self._trial.platform.has_died(name):
            crash(self._trial.platform, name)

    def freeze_process(self) -> None:
        name = self._chance.choice(("worker", "supervisor", "api"))
        if self._trial.platform.has_died(name):
            return
        pid = self._trial.platform.pid(name)
        freeze(pid)
        let_pass(self._chance.uniform(0.5, 12))
        thaw(pid)

    def deploy_process(self) -> None:
        name = self._chance.choice(_PROCESSES)
        if not self._trial.platform.has_died(name):
            self._trial.platform.terminate(name, seconds=120)
            self._trial.platform.start(name)
            self._trial.client.mark("restarted", process=name)

    def kill_broker(self) -> None:
        self._trial.servers.kill(self._trial.servers.valkey)
        let_pass(self._chance.uniform(0, 8))
        self._trial.servers.start(self._trial.servers.valkey)

    def empty_broker(self) -> None:
        self._trial.servers.empty_brokers()

    def kill_database(self) -> None:
        self._trial.servers.kill(self._trial.servers.postgres)
        let_pass(self._chance.uniform(0, 12))
        self._trial.servers.start(self._trial.servers.postgres)

    def hang_up_database(self) -> None:
        some = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
        some += (
            " WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 4) AS four"
        )
        self._trial.query(some)

    def kill_engine(self) -> None:
        host = self._host()
        host.kill()
        let_pass(self._chance.uniform(0, 8))
        host.start_as_a_service()

    def freeze_engine(self) -> None:
        host = self._host()
        self._for_a_while(host.freeze, host.thaw)

    def cut_cable(self) -> None:
        host = self._host()
        self._for_a_while(host.cut, host.heal)

    def cancel_a_job(self) -> None:
        job = self._trial.submit_known(sleeping_job(ranks=self._chance.randint(1, 3)))
        let_pass(self._chance.uniform(0, 4))
        self._trial.client.cancel(job)

    def _for_a_while(self, begin: Callable[[], None], end: Callable[[], None]) -> None:
        begin()
        let_pass(self._chance.uniform(1, 20))
        end()

    def _host(self) -> Host:
        return self._chance.choice(self._trial.engines.hosts.hosts)


def run(trial: Trial) -> None:
    """F-33."""
    seconds = trial.scale.pick(20, 60.0 * trial.scale.rounds)
    trial.background(jobs=10**6, per_second=trial.scale.pick(1.0, _JOBS_PER_SECOND), tries_again=True)
    # A call over a cable that was cut, and one more that finds the connection dead, end at their deadlines.
    trial.client.mark("limits", settle_seconds=2.0 * _CALL_SECONDS + 4.0)
    over = time.monotonic() + seconds
    chaos = Chaos(trial)
    while time.monotonic() < over:
        chaos.do_something()
        let_pass(trial.chance.uniform(*_PAUSE_SECONDS) / trial.scale.pick(4, 1))
    trial.rounds_done = trial.scale.rounds
    trial.recover()
