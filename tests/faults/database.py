"""F-13 to F-15: the database that dies, drops its connections, or whose answers to commits get lost."""

from __future__ import annotations

import time

from tests.faults.harness.chaos import let_pass
from tests.faults.harness.load import known_job, ticking_job
from tests.faults.harness.trial import Lab, Trial

LAB = Lab(slots=24)
PROXIED = Lab(slots=24, proxied=tuple(("database", process) for process in ("api", "worker", "supervisor")))


def kill(trial: Trial) -> None:
    """F-13."""
    trial.background(jobs=trial.scale.count(12, 200), per_second=2.0)
    away = trial.scale.pick(4, 20)
    for _ in range(trial.scale.rounds):
        job = trial.submit_known(ticking_job(ranks=2, ticks=int((away + 4) * 5)))
        trial.wait_states([job], {"RUNNING"}, 120)
        with trial.fault("the database killed"):
            trial.servers.kill(trial.servers.postgres)
            over = time.monotonic() + away
            while time.monotonic() < over:
                asked = known_job(seconds=0.1)
                status = trial.client.submit_once(asked.body, expect=asked.expect)
                if status not in (503, 0):
                    trial.broken("I10", f"a submission without a database was answered {status}, not 503")
                let_pass(0.5)
            trial.servers.start(trial.servers.postgres)
        trial.wait_states([job], {"COMPLETED"}, 120)
        trial.rounds_done += 1


def hang_up(trial: Trial) -> None:
    """F-14."""
    trial.background(jobs=trial.scale.count(8, 400), per_second=2.0)
    mine = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
    mine += " WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) AS one"
    with trial.fault("five connections of ours a second ended by the server"):
        over = time.monotonic() + trial.scale.pick(5, 300) * trial.scale.rounds
        while time.monotonic() < over:
            begun = time.monotonic()
            trial.query(mine)
            trial.rounds_done += 1
            let_pass(0.2 - (time.monotonic() - begun))


def lose_commit_replies(trial: Trial) -> None:
    """F-15."""
    for number in range(trial.scale.rounds * trial.scale.count(6, 200)):
        process = trial.chance.choice(["api", "worker", "supervisor"])
        proxy = trial.proxies[("database", process)]
        before = proxy.dropped_count
        proxy.drop_reply_after([b"COMMIT"])
        trial.submit(ranks=trial.chance.choice([1, 1, 2]), seconds=0.2, lines=6)
        trial.wait(lambda: proxy.dropped_count > before, 60, f"a commit of the {process} goes unanswered")  # noqa: B023
        trial.rounds_done += 1
        if number % 4 == 3:
            # Three jobs at once are enough: what is lost in a crowd is found with difficulty.
            let_pass(0.5)
    with trial.fault("the last of the commits that went unanswered"):
        pass
