"""Which queued jobs go where. Pure: a snapshot in, placements and reasons out; same input, same answer.

All ranks or none. Turns are by age; a job that does not fit is passed by younger ones, but only until it has
waited for `PATIENCE_SECONDS`: from then on what frees up is kept for it. A job larger than the whole pool
holds up nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.jobs.placing import NodeRoom, Placement, Snapshot, WaitingJob

PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Plan:
    """`waiting` has, for each job that stays queued, why; only jobs whose status would change are in it."""

    placements: tuple[Placement, ...]
    waiting: dict[str, str]


def plan_pass(snapshot: Snapshot) -> Plan:
    """Decide one scheduling pass."""
    free = {node.id: node.free for node in snapshot.nodes}
    slots = sum(node.slots for node in snapshot.nodes)
    placements: list[Placement] = []
    waiting: dict[str, str] = {}
    held_for: WaitingJob | None = None
    for job in snapshot.waiting:
        nodes = None if held_for is not None else _fit(job.num_ranks, free, snapshot.nodes)
        if nodes is not None:
            for node in nodes:
                free[node] -= 1
            placements.append(Placement(job.id, job.attempt, nodes))
            continue
        reason = _why(job, slots, held_for)
        if reason != job.status:
            waiting[job.id] = reason
        if held_for is None and job.num_ranks <= slots and job.waited_seconds >= PATIENCE_SECONDS:
            held_for = job
    return Plan(tuple(placements), waiting)


def _fit(num_ranks: int, free: dict[int, int], nodes: tuple[NodeRoom, ...]) -> tuple[int, ...] | None:
    """A node for each rank: one node if one holds them all, the fullest that does; else the emptiest first."""
    alone = [node.id for node in nodes if free[node.id] >= num_ranks]
    if alone:
        chosen = min(alone, key=lambda node: (free[node], node))
        return (chosen,) * num_ranks
    if sum(free.values()) < num_ranks:
        return None
    ranks: list[int] = []
    for node in sorted(free, key=lambda node: (-free[node], node)):
        ranks += [node] * min(free[node], num_ranks - len(ranks))
    return tuple(ranks)


def _why(job: WaitingJob, slots: int, held_for: WaitingJob | None) -> str:
    if slots == 0:
        return "waiting: the pool has no node that takes ranks now"
    if job.num_ranks > slots:
        return f"waiting: needs {job.num_ranks} slots, and the pool has {slots}"
    if held_for is not None:
        return f"waiting for {job.num_ranks} of {slots} slots, behind an older job that needs {held_for.num_ranks}"
    return f"waiting for {job.num_ranks} of {slots} slots"
