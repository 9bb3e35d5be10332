"""Questions about jobs. Every one takes the account: another's job is a job that does not exist."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, tuple_

from core.database import Database
from core.errors import NotFound
from core.models import Job, NodePool, Notebook
from core.spec import JobSpec, spec_from_json
from core.states import JobState


@dataclass(frozen=True)
class JobRecord:
    """A job as stored; times are in UTC."""

    id: str
    account: str
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


@dataclass(frozen=True)
class JobPage:
    """`next_key` is the (created_at, id) after which the next page begins; None on the last."""

    jobs: tuple[JobRecord, ...]
    next_key: tuple[datetime, str] | None
    total: int


_COLUMNS = (
    Job.id,
    Job.account_id,
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
)


_ONE = (
    select(*_COLUMNS)
    .join(NodePool, NodePool.id == Job.pool_id)
    .where(Job.account_id == bindparam("account"), Job.id == bindparam("job"))
)
_POOL = select(NodePool.id, NodePool.default_image_ref).where(
    NodePool.account_id == bindparam("account"), NodePool.pool_id == bindparam("pool")
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


def list_jobs(
    database: Database, account: str, *, limit: int, after: tuple[datetime, str] | None = None
) -> JobPage:
    """A page of the account's jobs, newest first; by key, so that inserts neither skip nor repeat one."""
    query = (
        select(*_COLUMNS)
        .join(NodePool, NodePool.id == Job.pool_id)
        .where(Job.account_id == account)
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(limit + 1)
    )
    if after is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < after)
    with database.transaction() as connection:
        rows = connection.execute(query).all()
        total = connection.execute(
            select(func.count()).select_from(Job).where(Job.account_id == account)
        ).scalar_one()
    jobs = tuple(_record(row) for row in rows[:limit])
    next_key = (jobs[-1].created_at, jobs[-1].id) if len(rows) > limit else None
    return JobPage(jobs, next_key, total)


def get_notebook(database: Database, account: str, job_id: str, rank: int) -> bytes:
    """The rank's executed notebook as .ipynb bytes, of the last attempt. Raises NotFound."""
    with database.transaction() as connection:
        record = read_job(connection, account, job_id)
        content = connection.execute(
            select(Notebook.content).where(
                Notebook.job_id == job_id, Notebook.attempt == record.attempt, Notebook.rank == rank
            )
        ).scalar()
    if content is None:
        raise NotFound(f"job {job_id} has no executed notebook of rank {rank}")
    return zlib.decompress(content)


def find_pool(connection: Connection, account: str, pool: str) -> tuple[int, str | None] | None:
    """The row id and the default image of the account's pool, or None."""
    row = connection.execute(_POOL, {"account": account, "pool": pool}).first()
    return None if row is None else (row.id, row.default_image_ref)


def not_found(account: str, job_id: str) -> NotFound:
    """The one answer for a job that is not there and a job that is another's."""
    return NotFound(f"there is no batch job accounts/{account}/batchJobs/{job_id}")


def _record(row: Row[Any]) -> JobRecord:
    fields = dict(row._mapping)
    fields["account"] = fields.pop("account_id")
    fields["spec"] = spec_from_json(fields["spec"])
    fields["state"] = JobState(fields["state"])
    return JobRecord(**fields)
