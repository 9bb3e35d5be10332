"""F-22: other actors on the engine: they stop, remove, imitate, and take names."""

from __future__ import annotations

from typing import Any

from core.jobs.submitting import new_job_id
from tests.faults.harness.load import KnownJob, known_job, patient_job
from tests.faults.harness.trial import Lab, Trial
from tests.lab.images import BUSYBOX

LAB = Lab(slots=16)


def meddle(trial: Trial) -> None:
    """F-22."""
    for _ in range(trial.scale.count(1, 10) * trial.scale.rounds):
        for ranks in (1, 2):
            _stop(trial, ranks)
            _remove(trial, ranks)
        _imitate(trial)
        _take_name(trial)
        trial.rounds_done += 1
    trial.recover()


def _running(trial: Trial, ranks: int) -> str:
    job = trial.submit_known(patient_job(ranks=ranks, code=3, states=("FAILED",)))
    trial.wait_states([job], {"RUNNING"}, 120)
    says_up = (
        "SELECT count(DISTINCT c.rank) FROM log_chunks c JOIN jobs j ON j.id = c.job_id WHERE j.batch_job_id = %s"
    )
    trial.wait(lambda: trial.query(says_up, job)[0][0] == ranks, 120, "every rank is up")
    return job


def _stop(trial: Trial, ranks: int) -> None:
    """Somebody stops a rank: its exit code counts."""
    job = _running(trial, ranks)
    trial.platform.engine.containers.get(f"ls-{job}-1-0").stop(timeout=10)
    trial.wait_states([job], {"FAILED"}, 60)
    _must_be(trial, job, "EXIT_CODE", 3)


def _remove(trial: Trial, ranks: int) -> None:
    """Somebody removes a running rank: nobody knows how it ended."""
    job = _running(trial, ranks)
    trial.platform.engine.containers.get(f"ls-{job}-1-0").remove(force=True)
    trial.wait_states([job], {"FAILED"}, 60)
    _must_be(trial, job, "CONTAINER_VANISHED", None)


def _must_be(trial: Trial, job: str, reason: str, code: int | None) -> None:
    found = trial.query(
        "SELECT r.reason, r.exit_code FROM ranks r JOIN jobs j ON j.id = r.job_id"
        " WHERE j.batch_job_id = %s AND r.rank = 0",
        job,
    )
    if found != [(reason, code)]:
        trial.broken("I5", f"rank 0 of {job} ended {found}, not {reason} with exit code {code}")


def _imitate(trial: Trial) -> None:
    """A container with our label that no row explains goes after the grace period; one without it stays."""
    labelled = _container(
        trial,
        f"ls-{new_job_id()}-1-0",
        {
            "longshore.installation": trial.platform.installation,
            # Another each time: what has the same name twice is a defect of ours to the checker.
            "longshore.job": f"stranger-{trial.rounds_done}",
            "longshore.attempt": "1",
            "longshore.rank": "0",
        },
    )
    label = {"longshore.installation": trial.platform.installation}
    odd = _container(trial, f"odd-{trial.platform.installation}", label)
    plain = _container(trial, f"ls-{new_job_id()}-1-0", {})
    try:
        for each in (labelled, odd):
            trial.wait(lambda each=each: not _is_there(trial, each), 60, "what no row explains is removed")  # type: ignore[misc]
        if not _is_there(trial, plain):
            trial.broken("I2", "a container without our label was removed")
    finally:
        plain.remove(force=True)


def _take_name(trial: Trial) -> None:
    """The name that a rank is to have is somebody else's: the job fails and says so, and that one is let be."""
    with trial.held_back():
        job = trial.submit_known(KnownJob(known_job(ranks=2).body, {"states": ["FAILED"]}))
        other = _container(trial, f"ls-{job}-1-0", {})
    try:
        trial.wait_states([job], {"FAILED"}, 120)
        reason, status = trial.query("SELECT reason, status FROM jobs WHERE batch_job_id = %s", job)[0]
        if reason != "NAME_TAKEN" or other.name not in status:
            trial.broken("I5", f"a job whose container's name was taken ended {reason}: {status}")
        if not _is_there(trial, other):
            trial.broken("I2", "a container that was not ours was removed")
    finally:
        other.remove(force=True)


def _container(trial: Trial, name: str, labels: dict[str, str]) -> Any:
    return trial.platform.engine.containers.create(BUSYBOX, ["true"], name=name, labels=labels)


def _is_there(trial: Trial, container: Any) -> bool:
    return any(found.id == container.id for found in trial.platform.engine.containers.list(all=True, sparse=True))
