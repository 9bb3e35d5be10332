"""The pass: jobs in the order of their turns, each placed whole or left waiting with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.placement import sentences
from core.placement.forecast import forecast
from core.placement.reservations import PATIENCE_SECONDS, Reservation
from core.placement.room import Hosts, Room
from core.placement.timeline import Ends
from core.placement.turns import Turns
from core.placement.values import Need, Placement, Plan, Release, Snapshot, Waiting, WaitingJob


@dataclass(frozen=True)
class Unplaced:
    """A job that stays queued: `fits_pool` if it could start in an empty one, `is_held_back` if it fits now."""

    job: WaitingJob
    eligible: int
    fits_pool: bool
    is_held_back: bool = False


def plan_pass(snapshot: Snapshot) -> Plan:
    """Decide one scheduling pass. Its cost grows with the jobs of the snapshot and, once, with its nodes."""
    return _Pass(snapshot).run()


def usable_nodes(full: Room, job: WaitingJob, *, may_span: bool) -> int:
    """The nodes of the pool that a job may be on, as bits of its room when empty.

    Those with its labels, less those that failed it before, unless the others could never hold it.
    """
    eligible = full.eligible(job.labels, job.avoided)
    if job.avoided and not fits(full, job, eligible, may_span=may_span):
        return full.eligible(job.labels)
    return eligible


def fits(room: Room, job: WaitingJob, eligible: int, *, may_span: bool) -> bool:
    """Whether all ranks of a job fit there."""
    if room.largest(job.need, eligible) >= job.num_ranks:
        return True
    return may_span and job.num_ranks > 1 and room.total(job.need, eligible) >= job.num_ranks


class _Pass:
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._may_span = snapshot.may_span
        self._room = Room(snapshot.nodes, has_gpus=snapshot.has_gpus)
        self._full = Room(snapshot.nodes, has_gpus=snapshot.has_gpus, empty=True)
        self._slots = sum(self._full.slots)
        self._placements: list[Placement] = []
        #: what ends, with what this pass started; made when it is first asked for
        self._ends: Ends | None = None
        self._started: list[Release] = []
        self._unplaced: list[Unplaced] = []
        self._reservation: Reservation | None = None
        #: the least number of ranks that did not fit, by room, need and nodes: room only gets less in a pass
        self._failed: dict[tuple[int, Need, int], int] = {}

    def run(self) -> Plan:
        turns = Turns(self._snapshot.waiting, self._snapshot.in_use)
        while (job := turns.next()) is not None:
            if self._place(job):
                turns.placed(job)
        waiting = {found.job_id: found for found in self._explain()}
        changed = frozenset(
            job.id for job in self._snapshot.waiting if job.id in waiting and _is_new(job, waiting[job.id])
        )
        return Plan(tuple(self._placements), waiting, changed)

    def _place(self, job: WaitingJob) -> bool:
        eligible = usable_nodes(self._full, job, may_span=self._may_span)
        hosts = self._hosts(job, eligible)
        if hosts is not None:
            self._start(job, hosts)
            return True
        if not fits(self._full, job, eligible, may_span=self._may_span):
            self._unplaced.append(Unplaced(job, eligible, fits_pool=False))
            return False
        held_back = self._reservation is not None and self._fit(self._room, job, eligible) is not None
        self._unplaced.append(Unplaced(job, eligible, fits_pool=True, is_held_back=held_back))
        if self._reservation is None and job.waited_seconds >= PATIENCE_SECONDS:
            ends = self._all_ends()
            self._reservation = Reservation(job, eligible, self._room, ends, may_span=self._may_span)
        return False

    def _hosts(self, job: WaitingJob, eligible: int) -> Hosts | None:
        """Where the job's ranks go now, taken; None where they do not fit, or would delay the reserved job."""
        reservation = self._reservation
        if reservation is None:
            hosts = self._fit(self._room, job, eligible)
            if hosts is not None:
                self._room.take(hosts, job.need)
            return hosts
        ends_before = reservation.ends_before(job)
        hosts = self._fit(self._room if ends_before else reservation.beside, job, eligible)
        if hosts is not None:
            self._room.take(hosts, job.need)
            reservation.note_taken(job, hosts, ends_before=ends_before)
        return hosts

    def _fit(self, room: Room, job: WaitingJob, eligible: int) -> Hosts | None:
        asked = (id(room), job.need, eligible)
        if job.num_ranks >= self._failed.get(asked, job.num_ranks + 1):
            return None
        hosts = room.fit(job.num_ranks, job.need, eligible, may_span=self._may_span)
        if hosts is None:
            self._failed[asked] = job.num_ranks
        return hosts

    def _start(self, job: WaitingJob, hosts: Hosts) -> None:
        nodes = tuple(self._room.nodes[node].id for node, ranks in hosts for _ in range(ranks))
        self._placements.append(Placement(job.id, job.attempt, nodes))
        ends_in = float("inf") if job.run_seconds is None else job.run_seconds
        for node, ranks in hosts:
            self._started.append(Release(self._room.nodes[node].id, ranks, ends_in, -1.0, job.need))

    def _all_ends(self) -> Ends:
        if self._ends is None:
            self._ends = Ends(self._snapshot.releases or (), self._room.index)
        for release in self._started:
            self._ends.add(release)
        self._started.clear()
        return self._ends

    def _explain(self) -> Iterator[Waiting]:
        queue = [each for each in self._unplaced if each.fits_pool]
        starts: dict[str, float] = {}
        if self._snapshot.releases is not None:
            asked = [(each.job, each.eligible) for each in queue]
            starts = forecast(asked, self._room, self._all_ends(), self._may_span)
        positions = {each.job.id: place for place, each in enumerate(queue, 1)}
        for each in self._unplaced:
            yield self._why(each, positions.get(each.job.id), starts.get(each.job.id))

    def _why(self, each: Unplaced, place: int | None, starts_in: float | None) -> Waiting:
        job = each.job
        if place is None:
            reason, sentence = self._why_never(each)
            return Waiting(job.id, job.attempt, reason, f"waiting: {sentence}", sentence)
        if each.is_held_back and self._reservation is not None:
            reason = sentences.WAITING_BEHIND_RESERVATION
            sentence = sentences.behind(job, self._slots, self._reservation.job)
        elif place == 1:
            reason, sentence = sentences.WAITING_FOR_ROOM, sentences.for_room(job, self._slots)
        else:
            reason, sentence = sentences.WAITING_FOR_TURN, sentences.for_turn(job, self._slots)
        position = sentences.coarse_position(place)
        at = self._snapshot.at
        starts_at = None
        if starts_in is not None and at is not None:
            starts_at = sentences.coarse_time(at, starts_in, job.starts_at)
        status = sentences.with_outlook(sentence, position, starts_at)
        return Waiting(job.id, job.attempt, reason, status, sentence, position, starts_in, starts_at)

    def _why_never(self, each: Unplaced) -> tuple[str, str]:
        if not self._slots:
            # Said with both numbers, as of any pool that is too small.
            return sentences.NO_NODE, "the pool has no node that takes ranks now"
        job = each.job
        return sentences.NEVER_FITS_POOL, sentences.never_fits(
            job,
            slots=self._slots,
            total=self._full.total(job.need, each.eligible),
            largest=self._full.largest(job.need, each.eligible),
            has_labels=bool(self._full.eligible(job.labels)),
            may_span=self._may_span,
        )


def _is_new(job: WaitingJob, found: Waiting) -> bool:
    written = (job.reason, job.status, job.position, job.starts_at)
    return written != (found.reason, found.status, found.position, found.starts_at)
