"""A database that was restored from a backup is brought to what may be true now, before any process sees it.

The rows are of the backup's time, the engines are of today. A job that the backup shows as waiting may have run
since, to its end, and nothing on any engine would say so: it is not run again unless whoever restores says that it
may be. What ran then and runs still is found by its container's name and goes on. What ran then and is gone has
ended nobody knows how: it is lost, and no other attempt follows it (`stopping` asks for the mark made here).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text

from core.database import Database
from core.errors import FailedPrecondition
from core.jobs import job_moves
from core.jobs.retention import Expired, remove_expired
from core.jobs.retrying import RESTORED
from core.jobs.stopping import lock_job, stop_locked
from core.models import Job
from core.states import JOB_LIVE, JobState

#: States in which a job may not have run yet, as far as the backup knows.
_WAITING = frozenset({JobState.CREATING, JobState.QUEUED, JobState.PENDING})
#: What has been running for too long is not stopped before it was looked for: it may have ended in time.
_LOOK_FOR = "interval '10 minutes'"

_COUNT = text("SELECT count(*) FROM jobs")
_TABLES = text("SELECT to_regclass('jobs') IS NOT NULL")
_HOLDERS = (
    text("UPDATE nodes SET lease_owner = NULL, lease_until = NULL"),
    # Silence before the backup is no silence now; but nothing else is known of a node than it was.
    text("UPDATE nodes SET state_since = now() WHERE state = 'DOWN'"),
    text("UPDATE ranks SET lease_until = NULL WHERE lease_until IS NOT NULL"),
    text(
        f"UPDATE jobs SET deadline_at = now() + {_LOOK_FOR}"  # noqa: S608
        f" WHERE state = 'RUNNING' AND deadline_at < now() + {_LOOK_FOR}"
    ),
)
_OBJECTS = text(
    "SELECT 'logs' AS folder, job_id, attempt, path FROM log_objects"
    " UNION ALL SELECT 'outputs', job_id, attempt, path FROM rank_outputs WHERE removed_at IS NULL AND path <> ''"
)


@dataclass(frozen=True)
class Fenced:
    """Jobs that were ended because they may have run, and jobs whose containers are to be looked for."""

    ended: int
    looked_for: int


def count_jobs(database: Database) -> int:
    """How many jobs there are; 0 too where there are no tables yet."""
    with database.transaction() as connection:
        if not connection.execute(_TABLES).scalar_one():
            return 0
        return int(connection.execute(_COUNT).scalar_one())


def forget_holders(database: Database) -> None:
    """No step and no supervisor holds anything any more, and no clock of before decides anything at once."""
    with database.transaction() as connection:
        for statement in _HOLDERS:
            connection.execute(statement)


def fence_jobs(database: Database, made_at: datetime) -> Fenced:
    """End every job that waited when the backup was made, and mark every attempt that was under way.

    Each job in a transaction of its own; again is no harm.
    """
    with database.transaction() as connection:
        live = select(Job.id).where(Job.state.in_([state.value for state in JOB_LIVE]))
        found = list(connection.execute(live.order_by(Job.created_at)).scalars())
    when = f"{made_at:%Y-%m-%d %H:%M:%S} UTC"
    ended = 0
    for job_id in found:
        with database.transaction() as connection:
            job = lock_job(connection, job_id)
            if job.stop_requested_at is not None and job.reason == RESTORED:
                ended += 1
                continue
            if JobState(job.state) in _WAITING and job.stop_requested_at is None:
                status = f"waited when the backup of {when} was made, and may have run since; clone it to run it"
                stop_locked(connection, job, reason=RESTORED, status=status)
                ended += 1
            else:
                message = f"the platform was restored from the backup of {when}"
                job_moves.note(connection, job_id, job.attempt, reason=RESTORED, message=message)
    return Fenced(ended, len(found) - ended)


def forget_missing_objects(database: Database, has: Callable[[str], bool], *, may_be_most: bool = False) -> int:
    """Say of attempts whose objects are not in the store that they have been removed; how many there were.

    The database was dumped before the objects were copied: what was removed in between was removed for good. That
    cannot be undone, since what is said to be removed is removed wherever it turns up. So where most are missing,
    which looks like a store that is another one, or is not filled yet, FailedPrecondition is raised unless they
    `may_be_most`.
    """
    because = "it was being removed when the backup was made from which the platform was restored"
    with database.transaction() as connection:
        rows = connection.execute(_OBJECTS).all()
    missing = [row for row in rows if not has(row.path)]
    if 2 * len(missing) > len(rows) and not may_be_most:
        raise FailedPrecondition(
            f"{len(missing)} of {len(rows)} objects that the rows name are not in the store: fill it first, or"
            " name the right one in LONGSHORE_OBJECT_STORE_URL; with --objects-are-gone their jobs say that they"
            " were removed, for good"
        )
    gone = {(row.folder, row.job_id, row.attempt) for row in missing}
    return sum(remove_expired(database, Expired(*key, because)) for key in sorted(gone))
