"""F-1: every point at which a process can die between two steps, for gangs of 1, 2 and 4 ranks.

A process is killed once at each, and started again after two seconds. All cells of a wave run at the same time on
one platform; each is armed for its own job. A cell counts only when its order was obeyed: a job that got past its
point while another cell's death was repaired is tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.failpoints import Point
from core.queue import LAUNCH, SCHEDULE
from deploy.processes import wait_until
from tests.faults.harness.load import KnownJob, known_job, sleeping_job
from tests.faults.harness.orders import Order
from tests.faults.harness.trial import Lab, Trial
from tests.lab.images import BUSYBOX, UNSTARTABLE, ensure_unstartable

RANKS = (1, 2, 4)
_SECONDS, _SECONDS_EACH = 90.0, 15.0
LAB = Lab(slots=24, registry=True)
_PACKED_SECONDS = 60.0
_TRIES = 4
#: Which ones, the seed decides: others in every run.
_SHORT_POINTS = 4


@dataclass(frozen=True)
class CrashPoint:
    """A point, the process that dies there, what job brings it there, and what must be seen at the point.

    `subjects` without a job's id mean whoever comes first.
    """

    point: Point
    process: str
    job: str = "plain"
    subjects: tuple[str, ...] = ("{job}",)


CRASH_POINTS = (
    CrashPoint(Point.SUBMIT_COMMITTED, "api", "submitted"),
    CrashPoint(Point.RING_DUE, "api", "submitted", (SCHEDULE,)),
    CrashPoint(Point.RING_DUE, "worker", "cancelled"),
    CrashPoint(Point.RING_DUE, "supervisor", "failing"),
    CrashPoint(Point.STEP_TAKEN, "worker", "plain", (SCHEDULE,)),
    CrashPoint(Point.STEP_TAKEN, "worker", "plain", (LAUNCH,)),
    CrashPoint(Point.STEP_TAKEN, "worker", "cancelled"),
    CrashPoint(Point.PLACED, "worker"),
    CrashPoint(Point.LAUNCH_CLAIMED, "worker"),
    CrashPoint(Point.NETWORK_MADE, "worker"),
    CrashPoint(Point.RANK_CREATED, "worker", "plain", ("{job}", "{last}")),
    CrashPoint(Point.LAUNCH_CREATED, "worker"),
    CrashPoint(Point.LAUNCH_SAVED, "worker"),
    CrashPoint(Point.RANK_STARTED, "worker", "plain", ("{job}", "{last}")),
    CrashPoint(Point.LAUNCH_STARTED, "worker"),
    CrashPoint(Point.STOP_INTENDED, "worker", "cancelled"),
    CrashPoint(Point.STOP_SIGNALLED, "worker", "cancelled"),
    CrashPoint(Point.SLOT_RELEASING, "worker", "unstartable"),
    CrashPoint(Point.SLOT_FREED, "worker", "unstartable"),
    CrashPoint(Point.PULL_RECORDED, "supervisor", "pulled", ("{image}",)),
    CrashPoint(Point.EXIT_SEEN, "supervisor", "plain", ("{job}", "{last}")),
    CrashPoint(Point.OUTPUT_DRAINED, "supervisor", "plain", ("{job}", "{last}")),
    CrashPoint(Point.OUTPUTS_WRITTEN, "supervisor", "leaving", ("{job}", "{last}")),
    CrashPoint(Point.OUTPUTS_RECORDED, "supervisor", "leaving", ("{job}", "{last}")),
    CrashPoint(Point.END_COMMITTED, "supervisor", "plain", ("{job}", "{last}")),
    CrashPoint(Point.CONTAINER_REMOVED, "supervisor", "plain", ("{job}", "{last}")),
    CrashPoint(Point.SLOT_RELEASING, "supervisor"),
    CrashPoint(Point.SLOT_FREED, "supervisor"),
    CrashPoint(Point.OBJECTS_WRITTEN, "worker", "packed"),
    CrashPoint(Point.OUTPUT_PACKED, "worker", "packed"),
)


@dataclass
class Cell:
    """A crash point with a gang of some size. `order` is the last that was given for it."""

    crash: CrashPoint
    ranks: int
    job_id: str = ""
    image: str = BUSYBOX
    order: Order | None = None
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.crash.point.value} of {self.crash.process}, {self.crash.job}, {self.ranks} ranks"

    @property
    def is_done(self) -> bool:
        return self.order is not None and self.order.is_taken

    def arm(self, trial: Trial) -> None:
        """Order the death, in the place of an order that nobody came to."""
        if self.order is not None:
            self.order.withdraw()
        names = {"job": self.job_id, "last": f"rank-{self.ranks - 1}", "image": self.image}
        subjects = [subject.format(**names) for subject in self.crash.subjects]
        self.order = trial.orders.give(self.crash.process, self.crash.point, *subjects)


def cells(trial: Trial) -> list[Cell]:
    """Each point with each size; in a short run some of the points, the sizes in turn."""
    if trial.scale.short:
        some = trial.chance.sample(CRASH_POINTS, _SHORT_POINTS)
        return [Cell(crash, RANKS[index % len(RANKS)]) for index, crash in enumerate(some)]
    return [Cell(crash, ranks) for crash in CRASH_POINTS for ranks in RANKS]


def run(trial: Trial) -> None:
    """F-1."""
    trial.background(jobs=trial.scale.count(8, 150), per_second=trial.scale.pick(0.5, 1.0))
    ensure_unstartable(trial.platform.engine)
    for round_number in range(trial.scale.rounds):
        open_cells = cells(trial)
        trial.chance.shuffle(open_cells)
        for attempt in range(_TRIES):
            if not open_cells:
                break
            _wave(trial, open_cells, f"{round_number}-{attempt}")
            open_cells = [cell for cell in open_cells if not cell.is_done]
        for cell in open_cells:
            trial.broken("I7", f"no process came to {cell} ({cell.fault or 'its job ended without'})")
        trial.rounds_done += 1


def _wave(trial: Trial, wave: Sequence[Cell], name: str) -> None:
    """All cells at the same time, until their orders are obeyed and their jobs are over."""
    with trial.fault(f"wave {name} of {len(wave)} crash points"):
        held = [cell for cell in wave if cell.crash.job != "submitted"]
        with trial.held_back():
            for number, cell in enumerate(held):
                if cell.crash.job == "pulled":
                    cell.image = trial.registry.push(BUSYBOX, f"crash/{name}-{number}:1")
                cell.job_id = trial.submit_known(_job(cell))
                cell.arm(trial)
        # One process dies at one point at a time, and must be back before it can come to the next.
        seconds = _SECONDS + _SECONDS_EACH * len(wave)
        others = [threading.Thread(target=_guarded, args=(trial, cell, seconds), daemon=True) for cell in wave]
        for thread in others:
            thread.start()
        for thread in others:
            thread.join(2 * seconds)


def _guarded(trial: Trial, cell: Cell, seconds: float) -> None:
    """One cell's part after the start of its wave: to the end of its job, and its order withdrawn if not taken."""
    try:
        cell.fault = ""
        _play(trial, cell, seconds)
    except AssertionError as error:
        cell.fault = str(error)
        if cell.crash.job == "cancelled":
            trial.client.cancel(cell.job_id)
    if cell.order is not None and not cell.is_done:
        cell.order.withdraw()
        cell.order = None


def _play(trial: Trial, cell: Cell, seconds: float) -> None:
    if cell.crash.job == "submitted":
        # Known beforehand, so that the very request that makes it can be interrupted; the retry has the same key.
        cell.job_id = f"crash-{cell.crash.point.value}-{cell.ranks}-{trial.chance.randrange(1 << 40):x}"
        cell.arm(trial)
        job = known_job(ranks=cell.ranks)
        made = trial.client.submit(job.body, expect=job.expect, job_id=cell.job_id, seconds=seconds)
        if made != cell.job_id:
            trial.broken("I1", f"a retry with the same key made {made}, not {cell.job_id}")
    if cell.crash.job == "cancelled":
        trial.wait(_one_of(trial, cell, "RUNNING"), seconds, f"the job of {cell} runs")
        trial.client.cancel(cell.job_id, seconds=seconds)
    ended = _one_of(trial, cell, "COMPLETED", "FAILED", "CANCELLED")
    trial.wait(ended, seconds, f"the job of {cell} ends")
    # What follows the end of a job, and what any job may come to, takes a moment more; its output
    # rests for a while.
    wait_until(lambda: cell.is_done, _PACKED_SECONDS if cell.crash.job == "packed" else 5, every=0.1)


def _one_of(trial: Trial, cell: Cell, *states: str) -> Callable[[], bool]:
    return lambda: trial.state(cell.job_id) in states


def _job(cell: Cell) -> KnownJob:
    more: dict[str, Any] = {"ranks": cell.ranks, "image": cell.image}
    match cell.crash.job:
        case "cancelled":
            return sleeping_job(ranks=cell.ranks)
        case "unstartable":
            return KnownJob(known_job(ranks=cell.ranks, image=UNSTARTABLE).body, {"states": ["FAILED"]})
        case "leaving":
            job = known_job(ranks=cell.ranks)
            command = f"echo left >$LONGSHORE_OUTPUT_DIR/it\n{job.body['shellExecutor']['command']}"
            return KnownJob({**job.body, "shellExecutor": {"command": command}}, job.expect)
        case "failing":
            # Only a gang has somebody else to be told of a failure.
            cell.ranks = max(cell.ranks, 2)
            job = known_job(ranks=cell.ranks, code=3)
            body = {**job.body, "shellExecutor": {"command": "[ $RANK = 0 ] && { sleep 0.5; exit 3; }; sleep 60"}}
            return KnownJob(body, {"states": ["FAILED"]})
    return known_job(**more)
