"""F-25 and F-26: cancellations at every moment of a job, and ranks that do not want to end."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.harness.chaos import let_pass
from tests.faults.harness.load import KnownJob, known_job, sleeping_job
from tests.faults.harness.trial import Lab, Trial
from tests.lab.images import BUSYBOX

LAB = Lab(slots=24, settings={"rate_limit_per_second": 0})
_GRACE_SECONDS = 1.0
#: How long after the grace period the last rank may still be there.
_GONE_SECONDS = 5.0
_STATES = ("QUEUED", "PENDING", "RUNNING")


def cancel_at_every_moment(trial: Trial) -> None:
    """F-25."""
    for _ in range(trial.scale.rounds):
        for state in _STATES:
            for ranks in trial.chance.sample((1, 2, 4), trial.scale.count(1, 3)):
                _cancel_in(trial, state, ranks)
        _race(trial, trial.scale.count(12, 200))
        trial.rounds_done += 1
    trial.recover()


def _cancel_in(trial: Trial, state: str, ranks: int) -> None:
    """Cancelled as soon as it is seen in that state, which it may have left by the time that the call arrives."""
    job = trial.submit_known(sleeping_job(ranks=ranks))
    trial.wait(lambda: trial.state(job) != "QUEUED" or state == "QUEUED", 120, "it is placed")
    if state == "RUNNING":
        trial.wait_states([job], {"RUNNING"}, 120)
    for _ in range(2):
        # The second finds a job that is being cancelled, or is: no fault, and nothing more to do.
        trial.client.act("POST", f"/batchJobs/{job}:cancel", json={})
    begun = time.monotonic()
    trial.wait_states([job], {"CANCELLED"}, 120)
    trial.wait(lambda: not trial.platform.containers_of(job), 60, "its containers are gone")
    seconds = time.monotonic() - begun
    if seconds > trial.scale.allowed(_GRACE_SECONDS + _GONE_SECONDS):
        trial.broken("I4", f"a job cancelled in {state} had ranks for {seconds:.1f} s more")


def _race(trial: Trial, count: int) -> None:
    """Each is cancelled at about the moment at which it ends by itself."""
    with ThreadPoolExecutor(16) as pool:
        delays = [trial.chance.uniform(0, 1.0) for _ in range(count)]
        for done in [pool.submit(_submit_and_cancel, trial, delay) for delay in delays]:
            done.result()


def _submit_and_cancel(trial: Trial, delay: float) -> None:
    job = known_job(seconds=0.3, lines=6)
    job_id = trial.client.submit(job.body, expect={"states": ["COMPLETED", "CANCELLED"], "output": {}})
    trial.wait_states([job_id], {"RUNNING", "COMPLETED"}, 120)
    let_pass(delay)
    trial.client.cancel(job_id)


#: Ignores SIGTERM, leaves five hundred zombies to whoever is process 1, and a child in a session of its own.
_STUBBORN = """
trap '' TERM
i=0; while [ $i -lt 500 ]; do (:) & i=$((i+1)); done
setsid sh -c "trap '' TERM; while :; do sleep 1; done" &
echo up
while :; do sleep 1; done
"""


def end_what_does_not_want_to(trial: Trial) -> None:
    """F-26."""
    for _ in range(trial.scale.rounds):
        _end_stubborn(trial)
        trial.rounds_done += 1
    trial.recover()


def _end_stubborn(trial: Trial) -> None:
    body = {
        "nodePoolId": "default", "imageRef": BUSYBOX, "numRanks": 2, "stopGracePeriod": "1s",
        "shellExecutor": {"command": _STUBBORN},
    }  # fmt: skip
    job = trial.submit_known(KnownJob(body, {"states": ["CANCELLED"]}))
    trial.wait_states([job], {"RUNNING"}, 120)
    says_up = "SELECT count(*) FROM log_chunks c JOIN jobs j ON j.id = c.job_id WHERE j.batch_job_id = %s"
    trial.wait(lambda: trial.query(says_up, job)[0][0] >= 2, 120, "both ranks are up")
    processes = {process for each in trial.platform.containers() for process in _pids(each)}
    begun = time.monotonic()
    trial.client.cancel(job)
    trial.wait_states([job], {"CANCELLED"}, 120)
    seconds = time.monotonic() - begun
    if seconds > trial.scale.allowed(_GRACE_SECONDS + _GONE_SECONDS):
        trial.broken("I4", f"ranks that ignore SIGTERM were there for {seconds:.1f} s more")
    if seconds < _GRACE_SECONDS:
        trial.broken("I4", f"ranks were killed {seconds:.2f} s after SIGTERM, before their grace was over")
    trial.wait(lambda: not any(map(_is_there, processes)), 30, "no process of theirs is left")


def _pids(container: object) -> list[str]:
    return [row[1] for row in container.top()["Processes"]]  # type: ignore[attr-defined]


def _is_there(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()
