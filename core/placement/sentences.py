"""Why a job waits, in plain words and as a code for machines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import ceil

from core.placement.values import WaitingJob

#: No node of the pool takes ranks now.
NO_NODE = "NO_NODE"
#: It would not fit although nothing ran, as the pool is now. It holds up nobody.
NEVER_FITS_POOL = "NEVER_FITS_POOL"
#: It is the first in the queue, and there is no room for all its ranks.
WAITING_FOR_ROOM = "WAITING_FOR_ROOM"
#: There is no room, and others are before it.
WAITING_FOR_TURN = "WAITING_FOR_TURN"
#: There is room, and it is kept for a job that has waited longer.
WAITING_BEHIND_RESERVATION = "WAITING_BEHIND_RESERVATION"

_EXACT_POSITIONS = 10
#: seconds ahead, and to how many minutes such a start is rounded
_STEPS = ((1800.0, 1), (10_800.0, 5), (float("inf"), 30))
_GIB, _MIB = 1 << 30, 1 << 20


def coarse_position(position: int) -> int:
    """A position as it is written down: exact to ten, then cut to 10, 20, 50, 100, 200, 500 …

    A long queue moves with every start: exact positions would be thousands of writes for each.
    """
    if position <= _EXACT_POSITIONS:
        return position
    step = 10
    while step * 10 <= position:
        step *= 10
    return max(step * factor for factor in (1, 2, 5) if step * factor <= position)


def coarse_time(at: datetime, starts_in: float, written: datetime | None) -> datetime:
    """An estimated start as it is written down: whole minutes, the coarser the further away.

    One that was written before stays while it is about right.
    """
    start = at + timedelta(seconds=starts_in)
    if written is not None and written >= at:
        # What was coarse when it was written must not look wrong just because it has come nearer.
        tolerance = max(_step_minutes(starts_in), _step_minutes((written - at).total_seconds()))
        if abs(written - start) <= timedelta(minutes=tolerance):
            return written
    seconds = _step_minutes(starts_in) * 60
    return datetime.fromtimestamp(ceil(start.timestamp() / seconds) * seconds, tz=at.tzinfo)


def _step_minutes(seconds_ahead: float) -> int:
    return next(minutes for ahead, minutes in _STEPS if seconds_ahead < ahead)


def wants(job: WaitingJob) -> str:
    """What a job's ranks need beyond slots: ` with 2 CPUs and 4 GiB each, on nodes with disk=ssd`, or nothing."""
    parts = []
    if job.need.cpu_milli is not None:
        parts.append(f"{job.need.cpu_milli / 1000:g} CPU{'' if job.need.cpu_milli == 1000 else 's'}")
    if job.need.memory_bytes is not None:
        parts.append(_size(job.need.memory_bytes))
    text = f" with {' and '.join(parts)} each" if parts else ""
    if job.labels:
        text += f"{',' if text else ''} on nodes with {_labels(job)}"
    return text


def never_fits(job: WaitingJob, *, slots: int, total: int, largest: int, has_labels: bool, may_span: bool) -> str:
    """Why a job cannot start in the pool as it is now: `needs 16 slots, the pool has 8`.

    `slots` are the pool's; `total` and `largest` the ranks of this job that all its nodes together, and the one
    that takes most, could take if nothing ran.
    """
    if job.num_ranks > slots:
        return f"needs {job.num_ranks} slots, the pool has {slots}"
    if not has_labels:
        return f"needs nodes with {_labels(job)}, and no node of the pool is one"
    if total >= job.num_ranks and not may_span:
        return (
            f"needs {_ranks(job.num_ranks)}{wants(job)} on one node, and the largest takes {largest}:"
            " a job spans nodes only in a pool that has a network for it"
        )
    return f"needs {_ranks(job.num_ranks)}{wants(job)}, and all nodes together could take {total}"


def for_room(job: WaitingJob, slots: int) -> str:
    """`waiting for 4 of 8 slots`."""
    return f"waiting for {job.num_ranks} of {slots} slots{wants(job)}"


def for_turn(job: WaitingJob, slots: int) -> str:
    """There are others before it, and no room."""
    return f"waiting for its turn and for {job.num_ranks} of {slots} slots{wants(job)}"


def behind(job: WaitingJob, slots: int, held_for: WaitingJob) -> str:
    """There is room that is kept for another."""
    need = f"{held_for.num_ranks} slot{'' if held_for.num_ranks == 1 else 's'}"
    return f"{for_room(job, slots)}, behind a job that has waited longer and needs {need}"


def with_outlook(sentence: str, position: int | None, starts_at: datetime | None) -> str:
    """The sentence with the place in the queue and the estimated start, where they are known."""
    if position is not None:
        about = "about " if position > _EXACT_POSITIONS else ""
        sentence += f"; position {about}{position} in the queue"
    if starts_at is not None:
        sentence += f"; estimated start {starts_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return sentence


def _ranks(count: int) -> str:
    return "1 rank" if count == 1 else f"{count} ranks"


def _labels(job: WaitingJob) -> str:
    return " and ".join(f"{key}={value}" for key, value in job.labels)


def _size(size: int) -> str:
    return f"{size / _GIB:.3g} GiB" if size >= _GIB else f"{size / _MIB:.3g} MiB"
