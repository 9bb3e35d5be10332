"""What would become of a job that is not there: for the dry run. An answer about now, not a promise.

It asks what the scheduler asks, with the job added to the queue.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime

from core.database import Database
from core.jobs.queue_reading import take_snapshot
from core.jobs.run_times import read_run_times
from core.placement import sentences
from core.placement.planning import plan_pass
from core.placement.values import Need, Placement, Snapshot, Waiting, WaitingJob
from core.spec import JobSpec

#: No stored job has it.
_ID = ""
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0


@dataclass(frozen=True)
class Outlook:
    """Would it start now and where, wait and why, or never start in this pool: what its row would say, and when.

    `position` 0 = it would wait for no turn; `starts_at` is now where it would start now, None where nobody knows.
    """

    sentence: str
    reason: str = ""
    position: int = 0
    starts_at: datetime | None = None


def outlook(database: Database, pool_row: int, account: str, spec: JobSpec) -> Outlook:
    """What would become of a job of the account in this pool if it were submitted now."""
    snapshot = take_snapshot(database, pool_row, with_room=True)
    with database.transaction() as connection:
        times = read_run_times(connection, pool_row)
    job = WaitingJob(
        _ID,
        1,
        spec.num_ranks,
        0.0,
        account=account,
        priority=spec.priority,
        need=Need(spec.cpu_milli, spec.memory_bytes),
        labels=tuple(sorted(spec.node_labels.items())),
        run_seconds=times.remaining(account, spec.image_ref, spec.run_timeout_seconds),
        is_limited=spec.run_timeout_seconds is not None,
    )
    plan = plan_pass(replace(snapshot, waiting=(*snapshot.waiting, job)))
    for placement in plan.placements:
        if placement.job_id == _ID:
            sentence = f"valid; it would start now on {_hosts(snapshot, placement)}"
            return Outlook(sentence, starts_at=snapshot.at)
    found = plan.waiting[_ID]
    return Outlook(f"valid; {_wait(found, job, snapshot)}", found.reason, found.position or 0, found.starts_at)


def _hosts(snapshot: Snapshot, placement: Placement) -> str:
    """`node a (4 ranks) and node b (1 rank)`."""
    names = {node.id: node.name for node in snapshot.nodes}
    hosts = [
        f"node {names[node]} ({ranks} rank{'' if ranks == 1 else 's'})"
        for node, ranks in Counter(placement.nodes).items()
    ]
    shown = hosts if len(hosts) <= 4 else [*hosts[:3], f"{len(hosts) - 3} other nodes"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _wait(found: Waiting, job: WaitingJob, snapshot: Snapshot) -> str:
    if found.reason == sentences.NO_NODE:
        slots = "1 slot" if job.num_ranks == 1 else f"{job.num_ranks} slots"
        return f"as the pool is now, never: needs {slots}, the pool has 0"
    if found.reason == sentences.NEVER_FITS_POOL:
        return f"as the pool is now, never: {found.sentence}"
    said = f"it would wait: {found.sentence}"
    if found.position is not None:
        more = "after " if snapshot.is_cut and found.position > len(snapshot.waiting) // 2 else ""
        said += f", {more}position {found.position}"
    return said + (f", estimated start {_ahead(found.starts_in)}" if found.starts_in is not None else "")


def _ahead(seconds: float) -> str:
    for unit, name, below in ((_MINUTE, "minute", 90 * _MINUTE), (_HOUR, "hour", 36 * _HOUR)):
        if seconds < below:
            count = max(1, round(seconds / unit))
            return f"in about {count} {name}{'' if count == 1 else 's'}"
    return f"in about {round(seconds / _DAY)} days"
