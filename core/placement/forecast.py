"""When waiting jobs would start if each waited for those before it: a guess for people, a promise to nobody."""

from __future__ import annotations

from collections.abc import Sequence

from core.placement.room import Room
from core.placement.timeline import Ends, Timeline
from core.placement.values import UNKNOWN, WaitingJob

#: So many jobs of the queue's head are given a time; of those behind them it would be worth nothing.
FORECAST_JOBS = 20


def forecast(queue: Sequence[tuple[WaitingJob, int]], room: Room, ends: Ends, may_span: bool) -> dict[str, float]:
    """Seconds until each of the first jobs of the queue starts, by job id, as far as that can be known.

    `queue` has, for each job, the nodes that it may be on, as bits.
    """
    starts: dict[str, float] = {}
    timeline = Timeline(room, ends)
    for job, eligible in queue[:FORECAST_JOBS]:
        hosts = timeline.wait_for(job.num_ranks, job.need, eligible, may_span=may_span)
        if hosts is None or timeline.now == UNKNOWN:
            break
        starts[job.id] = timeline.now
        timeline.hold(hosts, job.need, job.run_seconds)
    return starts
