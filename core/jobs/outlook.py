"""What would become of a job that is not there: for the dry run. An answer about now, not a promise."""

from __future__ import annotations

from core.database import Database
from core.jobs.placing import take_snapshot


def outlook(database: Database, pool_row: int, num_ranks: int) -> str:
    """One sentence: would it start now, wait, or never start in this pool."""
    pool = take_snapshot(database, pool_row, with_room=True)
    slots = sum(node.slots for node in pool.nodes)
    free = sum(max(node.free, 0) for node in pool.nodes)
    ahead = len(pool.waiting)
    if num_ranks > slots:
        return f"valid; it would never start as the pool is now: it needs {num_ranks} slots, the pool has {slots}"
    if num_ranks > free:
        return f"valid; it would wait: it needs {num_ranks} slots, {free} of {slots} are free"
    if ahead:
        return f"valid; room for it is free ({free} of {slots} slots), and {ahead} jobs are before it in the queue"
    return f"valid; it would start now: {free} of {slots} slots are free"
