"""F-2 to F-5: workers and supervisors that are killed, frozen past their leases, or told to end."""

from __future__ import annotations

import time

from core.failpoints import Point
from tests.faults.harness.chaos import crash, frozen, let_pass, thaw
from tests.faults.harness.load import KnownJob, ticking_job
from tests.faults.harness.trial import SETTINGS, Lab, Trial

LAB = Lab(slots=48)
#: How soon after their restart the processes must hear again what runs.
_ADOPTED_SECONDS = 15.0
_TERMINATED_SECONDS = 30.0
#: A lease and a sweep (PROOFS): the longest that a job may wait for its start while workers come and go.
_WAIT_SECONDS = 60.0
#: What was taken from the queue when the signal came may still be begun.
_CLAIMS_SECONDS = 1.0


def kill_one_of_two(trial: Trial) -> None:
    """F-2."""
    trial.client.mark("limits", start_seconds=trial.scale.allowed(_WAIT_SECONDS))
    trial.background(jobs=trial.scale.count(12, 300), per_second=trial.scale.pick(2.0, 0.6))
    with trial.helped_by("worker"), trial.fault("one of two workers killed, again and again"):
        over = time.monotonic() + trial.scale.pick(11, 600) * trial.scale.rounds
        while time.monotonic() < over:
            alive = [name for name in ("worker", "worker#2") if not trial.platform.has_died(name)]
            if alive:
                crash(trial.platform, trial.chance.choice(alive))
                trial.rounds_done += 1
            let_pass(5)


def kill_all(trial: Trial) -> None:
    """F-3."""
    away = trial.scale.pick(4, 60)
    for _ in range(trial.scale.rounds):
        jobs = [trial.submit_known(_gang(trial, number, away)) for number in range(trial.scale.count(4, 20))]
        # Where the machine is slow, the first may be over before the last has begun.
        trial.wait_states(jobs, {"RUNNING", "COMPLETED", "FAILED"}, 120)
        before = {container.id for container in trial.platform.containers() if container.status == "running"}
        with trial.fault("all workers and supervisors killed"):
            for name in ("worker", "supervisor"):
                trial.platform.kill(name)
            let_pass(away)
            if gone := before - {container.id for container in trial.platform.containers()}:
                trial.broken("I2", f"{len(gone)} containers went away while nobody was there")
            stored = _stored(trial, jobs)
            for name in ("worker", "supervisor"):
                trial.platform.start(name)
            _wait_adopted(trial, jobs, stored)
        trial.wait_states(jobs, {"COMPLETED", "FAILED"}, 300)
        trial.rounds_done += 1


def _gang(trial: Trial, number: int, away: float) -> KnownJob:
    """Of every three, one ends while nobody is there, and one of those fails."""
    seconds = 2 + away / 2 if number % 3 == 0 else 8 + away
    return ticking_job(ranks=trial.chance.randint(1, 2), ticks=int(seconds * 5), code=7 if number % 6 == 0 else 0)


def _stored(trial: Trial, jobs: list[str]) -> dict[str, int]:
    """Bytes of output in rows, of each of these jobs that its row says is running."""
    rows = trial.query(
        "SELECT j.batch_job_id, coalesce(sum(c.byte_count), 0) FROM jobs j"
        " LEFT JOIN log_chunks c ON c.job_id = j.id WHERE j.batch_job_id = ANY(%s) GROUP BY 1, j.state"
        " HAVING j.state = 'RUNNING'",
        jobs,
    )
    return {job: int(count) for job, count in rows}


def _wait_adopted(trial: Trial, jobs: list[str], before: dict[str, int]) -> None:
    begun = time.monotonic()
    trial.wait(
        lambda: all(
            now.get(job, before[job] + 1) > before[job] for now in [_stored(trial, jobs)] for job in before
        ),
        120,
        "the output of every job goes on",
    )
    seconds = time.monotonic() - begun
    if seconds > trial.scale.allowed(_ADOPTED_SECONDS):
        trial.broken("I7", f"containers were adopted after {seconds:.1f} s")


_STALE = (
    *(Point.LAUNCH_CLAIMED, Point.NETWORK_MADE, Point.RANK_CREATED, Point.LAUNCH_CREATED, Point.LAUNCH_SAVED),
    *(Point.RANK_STARTED, Point.LAUNCH_STARTED, Point.EXIT_SEEN, Point.OUTPUT_DRAINED, Point.END_COMMITTED),
    *(Point.CONTAINER_REMOVED, Point.SLOT_FREED),
)
_OF_SUPERVISOR = {
    Point.EXIT_SEEN, Point.OUTPUT_DRAINED, Point.END_COMMITTED, Point.CONTAINER_REMOVED, Point.SLOT_FREED,
}  # fmt: skip


def freeze_past_lease(trial: Trial) -> None:
    """F-4."""
    with trial.helped_by("worker", "supervisor"):
        for _ in range(trial.scale.rounds):
            # In a short run one of them, which the seed decides.
            for point in trial.chance.sample(_STALE, trial.scale.count(1, len(_STALE))):
                for ranks in (2,) if trial.scale.short else (1, 2, 4):
                    _freeze_at(trial, point, ranks)
            trial.rounds_done += 1


def _freeze_at(trial: Trial, point: Point, ranks: int) -> None:
    """A process is stopped at a point of its step; another does its work to the end; then it goes on."""
    process = "supervisor" if point in _OF_SUPERVISOR else "worker"
    with trial.held_back():
        job = trial.submit(ranks=ranks)
        order = trial.orders.give(process, point, job, action="freeze")
    with trial.fault(f"{process} frozen at {point.value} past its lease, {ranks} ranks"):
        trial.wait(lambda: order.is_taken, 120, f"a {process} comes to {point.value}")
        trial.wait(lambda: len(frozen(trial.platform)) == 1, 10, "it is stopped")
        (name,) = frozen(trial.platform)
        try:
            trial.wait_states([job], {"COMPLETED"}, 120)
            _wait_released(trial, job)
            let_pass(SETTINGS["step_lease_seconds"])
        finally:
            thaw(trial.platform.pids[name])


def _wait_released(trial: Trial, job: str) -> None:
    held = (
        "SELECT count(*) FROM ranks r JOIN jobs j ON j.id = r.job_id WHERE j.batch_job_id = %s"
        " AND r.released_at IS NULL"
    )
    trial.wait(lambda: trial.query(held, job) == [(0,)], 60, "the slots of the job are free")


_DEPLOYED = (("worker",), ("supervisor",), ("api",), ("beat", "worker", "supervisor", "api"))


def terminate_under_load(trial: Trial) -> None:
    """F-5."""
    trial.background(jobs=trial.scale.count(8, 200), per_second=2.0)
    for _ in range(trial.scale.rounds):
        job = trial.submit_known(ticking_job(ranks=2, ticks=int(trial.scale.pick(60, 200))))
        trial.wait_states([job], {"RUNNING"}, 120)
        for names in _DEPLOYED[-1:] if trial.scale.short else _DEPLOYED:
            before = {each.id for each in trial.platform.containers_of(job)}
            with trial.fault(f"SIGTERM to {' and '.join(names)}"):
                for name in names:
                    _terminate(trial, name)
                after = {each.id for each in trial.platform.containers_of(job)}
                if after - before or before - after - _ended(trial, job):
                    trial.broken("I2", f"a deployment of {names} did something to the containers of {job}")
                for name in names:
                    trial.platform.start(name)
                    trial.client.mark("restarted", process=name)
        trial.wait_states([job], {"COMPLETED"}, 120)
        trial.rounds_done += 1


def _ended(trial: Trial, job: str) -> set[str]:
    """The containers of ranks whose end is written down: those may be gone."""
    ended = (
        "SELECT r.container_id FROM ranks r JOIN jobs j ON j.id = r.job_id WHERE j.batch_job_id = %s"
        " AND r.ended_at IS NOT NULL"
    )
    return {container for (container,) in trial.query(ended, job)}


def _terminate(trial: Trial, name: str) -> None:
    ((told_at,),) = trial.query("SELECT now()")
    seconds = trial.platform.terminate(name, seconds=120)
    claims = (
        "SELECT count(*) FROM job_events WHERE rank IS NOT NULL AND state = 'CREATING'"
        " AND at > %s + make_interval(secs => %s)"
    )
    late = trial.query(claims, told_at, trial.scale.allowed(_CLAIMS_SECONDS))
    if name == "worker" and late != [(0,)]:
        trial.broken("I2", f"{late} ranks were claimed by a worker that had been told to end")
    if seconds > trial.scale.allowed(_TERMINATED_SECONDS):
        trial.broken("I7", f"{name} took {seconds:.1f} s to end after SIGTERM")
