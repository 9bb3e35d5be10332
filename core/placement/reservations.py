"""The room that is kept for a job which has waited long enough, and who may use it meanwhile.

EASY backfilling (Lifka, "The ANL/IBM SP Scheduling System", 1995): the first job that does not fit is promised
the earliest start that the expected ends allow; a later job may pass if it ends before that by its own estimate,
or if what it takes is not needed then. The promised start therefore never moves back by what passes, only by
ranks that run longer than was expected.

Where the start depends on ranks whose end nobody knows, nothing passes by its estimate: what they give back is
held. After `LAST_PATIENCE_SECONDS` only an end that the platform enforces counts as one, so that estimates that
are wrong again and again cannot starve the job.
"""

from __future__ import annotations

from core.placement.room import Hosts, Room
from core.placement.timeline import Ends, Timeline
from core.placement.values import UNKNOWN, WaitingJob

#: How long a job may be passed by whatever fits.
PATIENCE_SECONDS = 30.0
LAST_PATIENCE_SECONDS = 600.0


class Reservation:
    """One job's promise. `room` is the pass's room now, which the pass goes on using up."""

    def __init__(self, job: WaitingJob, eligible: int, room: Room, ends: Ends, *, may_span: bool) -> None:
        self.job = job
        self._room = room
        timeline = Timeline(room, ends)
        hosts = timeline.wait_for(job.num_ranks, job.need, eligible, may_span=may_span)
        #: seconds from the snapshot until it can start; UNKNOWN where nobody can say
        self.starts_in = UNKNOWN if hosts is None else timeline.now
        #: what is free at that time beside the job
        self._spare = timeline.room
        if hosts is None:
            # It fits the pool and yet not what was seen of it: the rows moved on meanwhile. Hold all for a pass.
            self._spare.clear()
        else:
            self._spare.take(hosts, job.need)
        #: what is free from now until then, and beyond
        self.beside = room.copy()
        for node in range(len(room.nodes)):
            self.beside.set_least(node, room, self._spare)

    def ends_before(self, job: WaitingJob) -> bool:
        """Whether a job would be gone when the reserved one starts."""
        if job.run_seconds is None or self.starts_in == UNKNOWN:
            return False
        trusted = job.is_limited or self.job.waited_seconds < LAST_PATIENCE_SECONDS
        return trusted and job.run_seconds <= self.starts_in

    def note_taken(self, job: WaitingJob, hosts: Hosts, *, ends_before: bool) -> None:
        """A job has been let pass, and its room taken of the pass's."""
        if not ends_before:
            self._spare.take(hosts, job.need)
        for node, _ in hosts:
            self.beside.set_least(node, self._room, self._spare)
