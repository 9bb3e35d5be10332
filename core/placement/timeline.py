"""Room as it will be: what is free now, and what becomes free as ranks end, in the order of their expected ends.

Ranks whose end nobody knows are counted on after all others, those first that have held their node longest: so
what a waiting job counts on stays the same from pass to pass, and what starts meanwhile never comes before it.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable

from core.placement.room import Hosts, Room
from core.placement.values import UNKNOWN, Need, Release

_Entry = tuple[float, float, int, int, int, int, Release]


class Ends:
    """What is expected to end, in order. Made once for a pass, and gone through more than once."""

    def __init__(self, releases: Iterable[Release], nodes: Container[int]) -> None:
        self._heap = [_entry(release) for release in releases if release.node in nodes]
        heapq.heapify(self._heap)

    def add(self, release: Release) -> None:
        """One more."""
        heapq.heappush(self._heap, _entry(release))

    def next(self) -> Release | None:
        """The first that is left."""
        return self._heap[0][-1] if self._heap else None

    def pop(self) -> Release | None:
        """The first that is left, taken out."""
        return heapq.heappop(self._heap)[-1] if self._heap else None

    def copy(self) -> Ends:
        """The same ends, to be gone through on their own."""
        other = Ends.__new__(Ends)
        other._heap = self._heap.copy()
        return other

    def __len__(self) -> int:
        return len(self._heap)


class Timeline:
    """Moves forward only. `room` is what is free at `now` seconds from the snapshot; it is this object's own."""

    def __init__(self, room: Room, ends: Ends) -> None:
        self.room = room.copy()
        self.now = 0.0
        self.ends = ends.copy()

    def hold(self, hosts: Hosts, need: Need, run_seconds: float | None) -> None:
        """Start a job now: its room is taken, and comes back when it ends."""
        self.room.take(hosts, need)
        ends = UNKNOWN if run_seconds is None else self.now + run_seconds
        for node, ranks in hosts:
            # Less than nothing: of unknown ends, these are the youngest.
            self.ends.add(Release(self.room.nodes[node].id, ranks, ends, -1.0 - self.now, need))

    def wait_for(self, num_ranks: int, need: Need, eligible: int, *, may_span: bool) -> Hosts | None:
        """Go on until a job fits; where. None where it does not fit even when all have ended."""
        hosts = self.room.fit(num_ranks, need, eligible, may_span=may_span)
        if hosts is not None:
            return hosts
        spans = may_span and num_ranks > 1
        total = self.room.total(need, eligible) if spans else 0
        while (release := self.ends.pop()) is not None:
            node = self.room.index[release.node]
            before = self.room.capacity(node, need)
            self._end(node, release)
            if not eligible >> node & 1:
                continue
            after = self.room.capacity(node, need)
            total += after - before
            if after >= num_ranks or (spans and total >= num_ranks):
                self._end_the_rest_of_now()
                return self.room.fit(num_ranks, need, eligible, may_span=may_span)
        return None

    def _end(self, node: int, release: Release) -> None:
        self.now = max(self.now, release.ends_in)
        self.room.change(node, release.need, -release.ranks)

    def _end_the_rest_of_now(self) -> None:
        while self.now != UNKNOWN and (release := self.ends.next()) and release.ends_in <= self.now:
            self.ends.pop()
            self._end(self.room.index[release.node], release)


def _entry(release: Release) -> _Entry:
    node, ranks, ends_in, held_seconds, need = release
    cpu = -1 if need.cpu_milli is None else need.cpu_milli
    memory = -1 if need.memory_bytes is None else need.memory_bytes
    return ends_in, -held_seconds, node, ranks, cpu, memory, release
