"""A job comes in: its row, its ranks and its first event, in one transaction. Or only the question whether."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from core.accounts import Caller
from core.database import Database
from core.errors import AlreadyExists, FieldViolation, InvalidArgument
from core.jobs import idempotency, job_moves, rank_moves
from core.jobs.files import copy_files, store_files
from core.jobs.idempotency import RequestMark
from core.jobs.job_moves import NewJob
from core.jobs.quotas import Limits, QuotaNear, check_quota
from core.jobs.reading import JobRecord, read_job_by_key
from core.pools.access import find_pool
from core.secret_use import named_secrets_violations
from core.spec import JobSpec
from core.states import JobState

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID_TAKEN = "uq_jobs_account_id_batch_job_id"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Submission:
    """What is asked for. `batch_job_id` "" lets us choose; `mark` is the request's Idempotency-Key, if any.

    `contents` are files of the specification; those that it has beside them are the job's with the key `files_of`.
    """

    pool: str
    display_name: str
    shared: bool
    spec: JobSpec
    batch_job_id: str = ""
    mark: RequestMark | None = None
    contents: Mapping[str, bytes] = field(default_factory=dict)
    files_of: str = ""


@dataclass(frozen=True)
class Submitted:
    """The stored job, the row id of its pool for the doorbell, and whether this very request made it."""

    job: JobRecord
    pool_row: int
    is_new: bool


def new_job_id() -> str:
    """16 random characters, a letter first: 80 bits, safe in container and network names."""
    return secrets.choice(_ALPHABET[:26]) + "".join(secrets.choice(_ALPHABET) for _ in range(15))


def submit(database: Database, caller: Caller, submission: Submission, limits: Limits) -> Submitted:
    """Store a job, QUEUED, or find the one that the same request has made before.

    Raises InvalidArgument naming what the account does not have (`nodePoolId`, a secret) or what is missing
    (`imageRef`); PermissionDenied where the pool is not the caller's to use; AlreadyExists where the id is
    taken, or the Idempotency-Key stands for another request; ResourceExhausted past a quota.
    """
    is_plain = _is_plain(submission)
    submitted = _submit_plain(database, caller, submission, limits) if is_plain else None
    if submitted is None:
        try:
            # Where one statement has said no, a limit is near, if it is nothing else.
            submitted = _submit(database, caller, submission, limits, alone=is_plain)
        except QuotaNear:
            submitted = _submit(database, caller, submission, limits, alone=True)
    if submitted.is_new:
        # From here on every line about it says `job`; this one says also which request it came by.
        job = submitted.job
        log.info("job_submitted", job=job.id, name=f"accounts/{job.account}/batchJobs/{job.batch_job_id}")
    return submitted


def check(database: Database, caller: Caller, submission: Submission, limits: Limits) -> tuple[JobSpec, int]:
    """All that `submit` would refuse, without storing anything.

    The specification with its image resolved, and the row id of the pool.
    """
    with database.transaction() as connection:
        spec, pool_row = _resolve(connection, caller, submission)
        check_quota(connection, caller.account, spec.num_ranks, limits, alone=True)
        if submission.batch_job_id:
            idempotency.refuse_taken_id(connection, caller.account, submission.batch_job_id)
    return spec, pool_row


def _submit(
    database: Database, caller: Caller, submission: Submission, limits: Limits, *, alone: bool
) -> Submitted:
    job_id = new_job_id()
    with database.transaction() as connection:
        if submission.mark is not None:
            earlier = idempotency.claim(connection, caller.account, submission.mark, job_id)
            if earlier is not None:
                job, pool_row = read_job_by_key(connection, caller.account, earlier)
                return Submitted(job, pool_row, is_new=False)
        check_quota(connection, caller.account, submission.spec.num_ranks, limits, alone=alone)
        spec, pool_row = _resolve(connection, caller, submission)
        job = _insert(connection, caller, replace(submission, spec=spec), job_id, pool_row)
    return Submitted(job, pool_row, is_new=True)


def _resolve(connection: Connection, caller: Caller, submission: Submission) -> tuple[JobSpec, int]:
    """The specification with the pool's default image where it names none, and the pool's row."""
    spec = submission.spec
    faults = named_secrets_violations(connection, caller.account, spec.secret_env_vars, spec.image_pull_secret)
    found = find_pool(connection, caller, submission.pool)
    if found is None:
        fault = f"there is no node pool {submission.pool!r} in this account"
        raise InvalidArgument([FieldViolation("nodePoolId", fault), *faults])
    pool_row, default_image = found
    image_ref = spec.image_ref or default_image
    if not image_ref:
        faults.append(FieldViolation("imageRef", "is required: the pool has no default image"))
    if faults or not image_ref:
        raise InvalidArgument(faults)
    return replace(spec, image_ref=image_ref), pool_row


def _is_plain(submission: Submission) -> bool:
    """Whether one statement can decide on it: nothing in it has to be looked up but the pool."""
    spec = submission.spec
    named = spec.secret_env_vars or spec.image_pull_secret
    return submission.mark is None and bool(spec.image_ref) and not named and not spec.files


def _submit_plain(database: Database, caller: Caller, submission: Submission, limits: Limits) -> Submitted | None:
    """Nearly every submission, by one statement. None where it says no: why is for the long way to find out."""
    job = _new_job(caller, submission, new_job_id())
    try:
        with database.statement() as connection:
            made = job_moves.insert_plain_job(connection, job, caller, submission.pool, limits)
    except IntegrityError as error:
        raise _refusal(error, job) from None
    if made is None:
        return None
    made_at, pool_row = made
    return Submitted(_record(job, submission.pool, made_at), pool_row, is_new=True)


def _insert(
    connection: Connection, caller: Caller, submission: Submission, job_id: str, pool_row: int
) -> JobRecord:
    job = _new_job(caller, submission, job_id)
    try:
        made_at = job_moves.insert_job(connection, job, pool_row)
    except IntegrityError as error:
        raise _refusal(error, job) from None
    rank_moves.insert_ranks(connection, job_id, 1, submission.spec.num_ranks)
    store_files(connection, job_id, submission.contents)
    copied = submission.spec.files.keys() - submission.contents.keys()
    copy_files(connection, submission.files_of, job_id, sorted(copied))
    return _record(job, submission.pool, made_at)


def _new_job(caller: Caller, submission: Submission, job_id: str) -> NewJob:
    return NewJob(
        id=job_id,
        batch_job_id=submission.batch_job_id or job_id,
        account=caller.account,
        created_by=caller.email,
        display_name=submission.display_name,
        shared=submission.shared,
        spec=submission.spec,
    )


def _refusal(error: IntegrityError, job: NewJob) -> Exception:
    if _ID_TAKEN in str(error.orig):
        return AlreadyExists(idempotency.taken(job.account, job.batch_job_id))
    return error


def _record(job: NewJob, pool: str, made_at: datetime) -> JobRecord:
    return JobRecord(
        id=job.id,
        account=job.account,
        batch_job_id=job.batch_job_id,
        pool=pool,
        created_by=job.created_by,
        display_name=job.display_name,
        shared=job.shared,
        spec=job.spec,
        state=JobState.QUEUED,
        reason="",
        status=job_moves.QUEUED_STATUS,
        attempt=1,
        image_digest="",
        created_at=made_at,
        updated_at=made_at,
        started_at=None,
        ended_at=None,
    )
