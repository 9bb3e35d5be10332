"""Questions about jobs. Every one takes the account: another's job is a job that does not exist."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Connection, Row, Text, bindparam, cast, func, select

from core.database import Database
from core.errors import NotFound, OutputRemoved
from core.jobs.listing import ESTIMATED_START_AT, JOB_LISTING, QUEUE_POSITION
from core.listing.paging import ListQuery, Page, select_page
from core.models import Job, JobCount, NodePool, Notebook
from core.spec import JobSpec, spec_from_json
from core.states import JobState


@dataclass(frozen=True)
class JobRecord:
    """A job as stored; times are in UTC. `id` is the key of every row of it and is never on the wire."""

    id: str
    account: str
    batch_job_id: str
    pool: str
    created_by: str
    display_name: str
    shared: bool
    spec: JobSpec
    state: JobState
    reason: str
    status: str
    attempt: int
    image_digest: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    #: while it is QUEUED: exact to ten, then rounded; 0 = not known, or it waits for no turn
    queue_position: int = 0
    #: while it is QUEUED, rounded; None = not known
    estimated_start_at: datetime | None = None


_COLUMNS = (
    Job.id,
    Job.account_id,
    Job.batch_job_id,
    NodePool.pool_id.label("pool"),
    Job.created_by,
    Job.display_name,
    Job.shared,
    Job.spec,
    Job.state,
    Job.reason,
    Job.status,
    Job.attempt,
    Job.image_digest,
    Job.created_at,
    Job.updated_at,
    Job.started_at,
    Job.ended_at,
    QUEUE_POSITION.label("queue_position"),
    ESTIMATED_START_AT.label("estimated_start_at"),
)


_ONE = (
    select(*_COLUMNS)
    .join(NodePool, NodePool.id == Job.pool_id)
    .where(Job.account_id == bindparam("account"), Job.batch_job_id == bindparam("job"))
)
_BY_KEY = (
    select(*_COLUMNS, NodePool.id.label("pool_row"))
    .join(NodePool, NodePool.id == Job.pool_id)
    .where(Job.account_id == bindparam("account"), Job.id == bindparam("job"))
)
_MANY = (
    select(*_COLUMNS)
    .join(NodePool, NodePool.id == Job.pool_id)
    .where(Job.id == func.any(bindparam("jobs", type_=ARRAY(Text))))
)
_TOTAL = select(cast(func.coalesce(func.sum(JobCount.jobs), 0), BigInteger)).where(
    JobCount.account_id == bindparam("account")
)


def get_job(database: Database, account: str, job_id: str) -> JobRecord:
    """The account's job. Raises NotFound."""
    with database.transaction() as connection:
        return read_job(connection, account, job_id)


def read_job(connection: Connection, account: str, job_id: str) -> JobRecord:
    """`get_job` within a transaction."""
    row = connection.execute(_ONE, {"account": account, "job": job_id}).first()
    if row is None:
        raise not_found(account, job_id)
    return _record(row)


def list_jobs(database: Database, account: str, query: ListQuery) -> Page[JobRecord]:
    """A page of the account's jobs, by the fields of `JOB_LISTING`; newest first where no order is asked for."""
    with database.transaction() as connection:
        return select_page(
            connection,
            select(*_COLUMNS).join(NodePool, NodePool.id == Job.pool_id).where(Job.account_id == account),
            JOB_LISTING,
            query,
            _record_of,
            total=lambda: connection.execute(_TOTAL, {"account": account}).scalar_one(),
        )


def get_notebook(database: Database, account: str, job_id: str, rank: int, *, attempt: int | None = None) -> bytes:
    """The rank's executed notebook as .ipynb bytes, by default of the latest attempt. Raises NotFound."""
    with database.transaction() as connection:
        record = read_job(connection, account, job_id)
        found = connection.execute(
            select(Notebook.content, Notebook.removed_at, Notebook.removed_because).where(
                Notebook.job_id == record.id,
                Notebook.attempt == (record.attempt if attempt is None else attempt),
                Notebook.rank == rank,
            )
        ).first()
    if found is None:
        raise NotFound(f"job {job_id} has no executed notebook of rank {rank}")
    if found.content is None:
        raise OutputRemoved(f"the executed notebook of rank {rank}", found.removed_at, found.removed_because)
    return zlib.decompress(found.content)


def read_job_by_key(connection: Connection, account: str, key: str) -> tuple[JobRecord, int]:
    """The account's job by the key of its rows, which must exist, and the row id of its pool."""
    fields = dict(connection.execute(_BY_KEY, {"account": account, "job": key}).one()._mapping)
    pool_row: int = fields.pop("pool_row")
    return _record_of(fields), pool_row


def read_jobs_by_key(connection: Connection, keys: Sequence[str]) -> dict[str, JobRecord]:
    """The jobs of these keys that are there, of whatever account: whoever asks has been let to each before."""
    rows = connection.execute(_MANY, {"jobs": list(keys)})
    return {row.id: _record(row) for row in rows}


def not_found(account: str, job_id: str) -> NotFound:
    """The one answer for a job that is not there and a job that is another's."""
    return NotFound(f"there is no batch job accounts/{account}/batchJobs/{job_id}")


def _record(row: Row[Any]) -> JobRecord:
    return _record_of(dict(row._mapping))


def _record_of(fields: dict[str, Any]) -> JobRecord:
    fields["account"] = fields.pop("account_id")
    fields["spec"] = spec_from_json(fields["spec"])
    fields["state"] = JobState(fields["state"])
    return JobRecord(**fields)
