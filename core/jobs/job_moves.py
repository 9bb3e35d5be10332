"""The only file that writes a job's state. Each verb is one guarded UPDATE and one event, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, delete, func, text, update

from core.accounts import Caller
from core.jobs.objects import doom_objects_of
from core.jobs.quotas import FAR_FROM_LIMIT, Limits, far_from_limit
from core.jobs.rank_moves import RANKS_OF_MADE
from core.models import Job
from core.pools.access import USABLE_OWN_POOL, usable_own_pool
from core.spec import JobSpec, spec_to_json
from core.states import JOB_ENDED, JobState, sources_of_job

#: The status of a job that nothing has been decided about.
QUEUED_STATUS = "queued"


_COLUMNS = (
    "id, account_id, batch_job_id, pool_id, created_by, display_name, shared, num_ranks, image_ref,"
    " image_pull_secret, spec, state, status, deadline_at"
)
_QUEUE_CLOCK = "now() + make_interval(secs => CAST(:queue_timeout AS double precision))"
_INSERT = text(
    f"WITH made AS (INSERT INTO jobs ({_COLUMNS})"  # noqa: S608
    " VALUES (:id, :account, :batch_job, :pool_row, :created_by, :display_name, :shared, :num_ranks, :image_ref,"
    f" :image_pull_secret, CAST(:spec AS jsonb), 'QUEUED', :status, {_QUEUE_CLOCK}) RETURNING id)"
    " INSERT INTO job_events (job_id, attempt, rank, state, message)"
    " SELECT id, 1, NULL, 'QUEUED', CAST(:status AS text) FROM made RETURNING at"
)
# All that a plain submission is, in one statement: what was asked for is checked, stored and counted on the
# server, and the reply waits for one round trip and one commit.
_INSERT_PLAIN = text(
    f"WITH pool AS ({USABLE_OWN_POOL}), room AS ({FAR_FROM_LIMIT}),"  # noqa: S608
    f" made AS (INSERT INTO jobs ({_COLUMNS})"
    " SELECT :id, :account, :batch_job, pool.id, :created_by, :display_name, :shared, :num_ranks, :image_ref,"
    f" :image_pull_secret, CAST(:spec AS jsonb), 'QUEUED', :status, {_QUEUE_CLOCK} FROM pool, room WHERE room.ok"
    f" RETURNING id, pool_id), ranked AS ({RANKS_OF_MADE})"
    " INSERT INTO job_events (job_id, attempt, rank, state, message)"
    " SELECT id, 1, NULL, 'QUEUED', CAST(:status AS text) FROM made RETURNING at, (SELECT pool_id FROM made)"
)


@dataclass(frozen=True)
class NewJob:
    """The row of a job that is to be made."""

    id: str
    batch_job_id: str
    account: str
    created_by: str
    display_name: str
    shared: bool
    spec: JobSpec

    def values(self) -> dict[str, Any]:
        """Its columns, by the names in the statements."""
        return {
            "id": self.id,
            "account": self.account,
            "batch_job": self.batch_job_id,
            "created_by": self.created_by,
            "display_name": self.display_name,
            "shared": self.shared,
            "num_ranks": self.spec.num_ranks,
            "image_ref": self.spec.image_ref,
            "image_pull_secret": self.spec.image_pull_secret,
            "spec": orjson.dumps(spec_to_json(self.spec)).decode(),
            "status": QUEUED_STATUS,
            "queue_timeout": self.spec.queue_timeout_seconds,
        }


def insert_job(connection: Connection, job: NewJob, pool_row: int) -> datetime:
    """Write a new job's row, QUEUED, with its first event; when. Its ranks are `rank_moves.insert_ranks`."""
    made_at: datetime = connection.execute(_INSERT, {**job.values(), "pool_row": pool_row}).scalar_one()
    return made_at


def insert_plain_job(
    connection: Connection, job: NewJob, caller: Caller, pool: str, limits: Limits
) -> tuple[datetime, int] | None:
    """Write a job that names no secret, with its ranks and its first event: when, and its pool's row.

    None, and nothing is written, where it is not that plain: the pool is not one of the caller's account that
    he may use, or a quota is near.
    """
    given = {"pool": pool, **usable_own_pool(caller), **far_from_limit(limits)}
    row = connection.execute(_INSERT_PLAIN, {**job.values(), **given}).first()
    return None if row is None else (row[0], row[1])


#: The part of the specification that says how long a job may be in a state. Elsewhere no clock runs.
_CLOCKS = {
    JobState.PENDING: "pull_timeout_seconds",
    JobState.RUNNING: "run_timeout_seconds",
    **dict.fromkeys(JOB_ENDED, "ttl_seconds"),
}
#: Text, because it runs several times for every job: building it each time costs more than running it.
_MOVE = text(
    "WITH moved AS (UPDATE jobs SET state = :to, reason = :reason, status = :status, updated_at = now(),"
    " started_at = CASE WHEN :running THEN now() ELSE started_at END,"
    " ended_at = CASE WHEN :ended THEN now() ELSE ended_at END,"
    " deadline_at = now() + make_interval(secs => CAST(spec ->> CAST(:clock AS text) AS double precision))"
    " WHERE id = :job AND attempt = :attempt AND state = ANY(:allowed) RETURNING id, attempt)"
    " INSERT INTO job_events (job_id, attempt, rank, state, reason, message)"
    " SELECT id, attempt, NULL, CAST(:to AS text), CAST(:reason AS text), CAST(:status AS text) FROM moved"
    " RETURNING id"
)


def move_job(
    connection: Connection,
    job_id: str,
    attempt: int,
    to: JobState,
    *,
    reason: str = "",
    status: str,
    sources: frozenset[JobState] | None = None,
) -> bool:
    """Move a job to `to` from any state that allows it (or from `sources`); False where the guard failed.

    Start and end times and the state's deadline are set here, by the database's clock.
    """
    moved = connection.execute(
        _MOVE,
        {
            "job": job_id,
            "attempt": attempt,
            "to": to.value,
            "reason": reason,
            "status": status,
            "running": to is JobState.RUNNING,
            "ended": to in JOB_ENDED,
            "clock": _CLOCKS.get(to, ""),
            "allowed": [s.value for s in (sources_of_job(to) if sources is None else sources)],
        },
    )
    return moved.first() is not None


_RESERVED_STATUS = "room is reserved; preparing containers"
_RESERVE = text(
    "WITH moved AS (UPDATE jobs SET state = 'PENDING', reason = '', status = :status, updated_at = now(),"
    " deadline_at = now() + make_interval("
    "secs => CAST(spec ->> 'pull_timeout_seconds' AS double precision))"
    " FROM unnest(CAST(:jobs AS text[]), CAST(:attempts AS int[])) AS wanted(job, in_attempt)"
    " WHERE id = wanted.job AND attempt = wanted.in_attempt AND state = 'QUEUED' RETURNING id, attempt)"
    " INSERT INTO job_events (job_id, attempt, rank, state, message)"
    " SELECT id, attempt, NULL, 'PENDING', CAST(:status AS text) FROM moved RETURNING id"
)


def reserve_jobs(connection: Connection, attempts: Sequence[tuple[str, int]]) -> None:
    """QUEUED → PENDING for all of these (job, attempt), whose rows the caller has locked. One statement.

    Raises RuntimeError where one of them is not QUEUED.
    """
    asked = {
        "jobs": [job_id for job_id, _ in attempts],
        "attempts": [attempt for _, attempt in attempts],
        "status": _RESERVED_STATUS,
    }
    if len(connection.execute(_RESERVE, asked).all()) != len(attempts):
        raise RuntimeError("a locked job is not QUEUED any more")


def mark_stopping(connection: Connection, job_id: str, attempt: int, *, reason: str, status: str) -> bool:
    """Note, once, that the attempt's ranks are to be stopped; False when it was noted already."""
    result = connection.execute(
        update(Job)
        .where(Job.id == job_id, Job.attempt == attempt, Job.stop_requested_at.is_(None))
        .values(
            stop_requested_at=func.clock_timestamp(),
            deadline_at=None,
            reason=reason,
            status=status,
            updated_at=func.now(),
        )
    )
    return result.rowcount == 1


_NOTE = text(
    "INSERT INTO job_events (job_id, attempt, rank, state, reason, message)"
    " SELECT id, attempt, NULL, state, :reason, :message FROM jobs WHERE id = :job AND attempt = :attempt"
)


def note(connection: Connection, job_id: str, attempt: int, *, reason: str, message: str) -> None:
    """An event in the job's history that moves nothing."""
    asked = {"job": job_id, "attempt": attempt, "reason": reason, "message": message}
    connection.execute(_NOTE, asked)


_REQUEUE = text(
    "WITH moved AS (UPDATE jobs SET state = 'QUEUED', attempt = attempt + 1, reason = :reason, status = :status,"
    " uncharged_attempts = uncharged_attempts + CASE WHEN :charged THEN 0 ELSE 1 END,"
    " avoided_nodes = CASE WHEN CAST(:avoid AS bigint) IS NULL THEN avoided_nodes"
    " WHEN CAST(:avoid AS bigint) = ANY(avoided_nodes) THEN ARRAY[CAST(:avoid AS bigint)]"
    " ELSE array_append(avoided_nodes, CAST(:avoid AS bigint)) END,"
    " not_before_at = now() + make_interval(secs => :delay), stop_requested_at = NULL, started_at = NULL,"
    " queue_position = NULL, estimated_start_at = NULL, updated_at = now(),"
    " deadline_at = now() + make_interval("
    "secs => :delay + CAST(spec ->> 'queue_timeout_seconds' AS double precision))"
    " WHERE id = :job AND attempt = :attempt AND state = ANY(:allowed) RETURNING id, attempt)"
    " INSERT INTO job_events (job_id, attempt, rank, state, reason, message)"
    " SELECT id, attempt, NULL, 'QUEUED', CAST(:reason AS text), CAST(:status AS text) FROM moved RETURNING id"
)


def requeue_job(
    connection: Connection,
    job_id: str,
    attempt: int,
    *,
    reason: str,
    status: str,
    delay_seconds: float,
    charged: bool,
    avoid_node: int | None = None,
) -> bool:
    """PENDING or RUNNING → QUEUED as the next attempt, whose ranks are `rank_moves.insert_ranks`.

    False where the guard failed. Only for an attempt of which no container is left. The queue's clock runs
    once the delay is over. A node to avoid is added to those that the job avoids already; where it was among
    them, there was no other left, and it is the only one to be avoided next.
    """
    moved = connection.execute(
        _REQUEUE,
        {
            "job": job_id,
            "attempt": attempt,
            "reason": reason,
            "status": status,
            "delay": delay_seconds,
            "charged": charged,
            "avoid": avoid_node,
            "allowed": [JobState.PENDING.value, JobState.RUNNING.value],
        },
    )
    return moved.first() is not None


def purge_job(connection: Connection, job_id: str) -> None:
    """Remove a job's row and, by the foreign keys, its ranks, events, logs and notebooks; its objects follow."""
    doom_objects_of(connection, job_id)
    connection.execute(delete(Job).where(Job.id == job_id, Job.state == JobState.DELETING.value))
