"""Named points at which a process may be told to die or to freeze, so that every crash can be rehearsed.

Inert in production: without LONGSHORE_FAILPOINTS a point costs one comparison. With it, the variable names a
folder of orders. An order is a file `<point>.<anything>` whose text is an action and the subjects that it is for
(`kill qx3…16 rank-0`); the first process that comes to the point with all of them takes the order, by renaming
it, and does as it says. So an order is carried out once, over all processes and restarts, and orders can be given
while the processes run, when the ids of jobs are known.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum
from pathlib import Path

VARIABLE = "LONGSHORE_FAILPOINTS"
TAKEN = ".taken"


class Point(StrEnum):
    """Where a process may end. Each is used at one place, and each must be armed by the fault that kills there."""

    # api
    SUBMIT_COMMITTED = "submit-committed"  # the row is committed, nobody has been told
    # any process
    RING_DUE = "ring-due"  # before a message is published
    # worker
    STEP_TAKEN = "step-taken"  # the message is taken from the broker, nothing is claimed
    PLACED = "placed"  # the intent is committed, nobody has been told
    LAUNCH_CLAIMED = "launch-claimed"
    NETWORK_MADE = "network-made"
    RANK_CREATED = "rank-created"  # one container exists, no row has its id
    LAUNCH_CREATED = "launch-created"  # all of them exist, no row has their ids
    LAUNCH_SAVED = "launch-saved"  # their ids are committed, none is started
    RANK_STARTED = "rank-started"  # one container runs, no row says so
    LAUNCH_STARTED = "launch-started"  # all of them run, no row says so
    STOP_INTENDED = "stop-intended"  # the intent to signal is committed, nobody has been signalled
    STOP_SIGNALLED = "stop-signalled"  # signals are sent, no row says so
    OBJECTS_WRITTEN = "objects-written"  # an attempt's output is in the object store too, no row says so
    OUTPUT_PACKED = "output-packed"  # its rows say that it is there, and its chunks are still there
    OUTPUT_REMOVED = "output-removed"  # rows say that an attempt's output is kept no longer, its objects are there
    OBJECTS_REMOVED = "objects-removed"  # doomed objects are gone, their removal is still ordered
    # supervisor
    PULL_RECORDED = "pull-recorded"  # the image is there and its row says so, nobody has been told
    EXIT_SEEN = "exit-seen"  # the end is seen, the rest of the output is not
    OUTPUT_DRAINED = "output-drained"  # the output is stored, the end is not
    OUTPUTS_WRITTEN = "outputs-written"  # what the rank left is in the object store, no row says so
    OUTPUTS_RECORDED = "outputs-recorded"  # its rows say so, the end is not stored
    END_COMMITTED = "end-committed"  # the end is stored, the container is there
    CONTAINER_REMOVED = "container-removed"  # the container is gone, the slot is held
    # worker and supervisor
    SLOT_RELEASING = "slot-releasing"  # the slot is free in a transaction that is not committed
    SLOT_FREED = "slot-freed"  # committed, nobody has been told


def _folder() -> Path | None:
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


_FOLDER = _folder()


def failpoint(point: Point, *subjects: object) -> None:
    """Nothing, unless an order for this point and these subjects is there: then this process dies or freezes."""
    if _FOLDER is not None:
        _obey(_FOLDER, point, {str(subject) for subject in subjects})


def _obey(folder: Path, point: Point, subjects: set[str]) -> None:
    for order in folder.glob(f"{point.value}.*"):
        if order.suffix == TAKEN:
            continue
        try:
            action, *wanted = order.read_text().split()
            if not subjects.issuperset(wanted):
                continue
            order.rename(order.with_name(order.name + TAKEN))
        except FileNotFoundError:
            continue  # Another thread or process was here first.
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}[action])
