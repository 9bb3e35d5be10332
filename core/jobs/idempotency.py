"""A creation that is asked for twice is made once. The key is stored in the creation's own transaction.

A client that lost the answer sends the same request with the same Idempotency-Key and gets the same job
(Stripe's model). The key outlives the job, so that a late retry does not make a deleted job again.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, select, text

from core.database import Database
from core.errors import AlreadyExists, FailedPrecondition
from core.models import IdempotencyKey, Job


@dataclass(frozen=True)
class RequestMark:
    """The client's name for a request, and a digest of all that it asks for."""

    key: str
    request_sha256: bytes


#: One statement decides. A request under way with the same key is waited for: the unique index does that.
_CLAIM = text(
    "INSERT INTO idempotency_keys (account_id, key, request_sha256, job_id)"
    " VALUES (:account, :key, :request, :job)"
    " ON CONFLICT (account_id, key) DO NOTHING RETURNING job_id"
)
_KNOWN = select(IdempotencyKey.request_sha256, IdempotencyKey.job_id).where(
    IdempotencyKey.account_id == bindparam("account"), IdempotencyKey.key == bindparam("key")
)
_LIVES = select(Job.id).where(Job.id == bindparam("job"))
_TAKEN = select(Job.id).where(Job.account_id == bindparam("account"), Job.batch_job_id == bindparam("batch_job"))


def claim(connection: Connection, account: str, mark: RequestMark, job_id: str) -> str | None:
    """Bind the key to the job that is to be made; the job that it is bound to already, if any.

    Raises AlreadyExists where the key stands for another request, FailedPrecondition where its job has been
    deleted since.
    """
    values = {"account": account, "key": mark.key, "request": mark.request_sha256, "job": job_id}
    if connection.execute(_CLAIM, values).first() is not None:
        return None
    known = connection.execute(_KNOWN, values).one()
    if known.request_sha256 != mark.request_sha256:
        raise AlreadyExists("Idempotency-Key: was used for another request; choose a new one for a new request")
    if connection.execute(_LIVES, {"job": known.job_id}).first() is None:
        raise FailedPrecondition("Idempotency-Key: the job that it made has been deleted")
    found: str = known.job_id
    return found


def refuse_taken_id(connection: Connection, account: str, batch_job_id: str) -> None:
    """Raises AlreadyExists where the account has a job of that id."""
    if connection.execute(_TAKEN, {"account": account, "batch_job": batch_job_id}).first() is not None:
        raise AlreadyExists(taken(account, batch_job_id))


def taken(account: str, batch_job_id: str) -> str:
    """What is said of an id that is in use."""
    return f"batchJobId: accounts/{account}/batchJobs/{batch_job_id} exists already"


def forget_old_keys(database: Database, seconds: float) -> int:
    """Remove the keys that are older than so many seconds; how many."""
    age = text("make_interval(secs => :seconds)").bindparams(seconds=seconds)
    with database.transaction() as connection:
        old = delete(IdempotencyKey).where(IdempotencyKey.created_at < func.now() - age)
        return connection.execute(old).rowcount
