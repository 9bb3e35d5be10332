"""A job comes in: its row, its ranks and its first event, in one transaction."""

from __future__ import annotations

import secrets

from core.database import Database
from core.errors import InvalidArgument
from core.jobs import job_moves, rank_moves
from core.jobs.reading import JobRecord, find_pool, read_job
from core.spec import JobSpec

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_job_id() -> str:
    """16 random characters, a letter first: 80 bits, safe in container and network names."""
    return secrets.choice(_ALPHABET[:26]) + "".join(secrets.choice(_ALPHABET) for _ in range(15))


def submit(
    database: Database,
    *,
    account: str,
    created_by: str,
    pool: str,
    display_name: str,
    shared: bool,
    spec: JobSpec,
) -> tuple[JobRecord, int]:
    """Store a job, QUEUED; the stored job and the row id of its pool, for the doorbell.

    Raises InvalidArgument naming `nodePoolId` where the account has no such pool, and `imageRef` where
    neither the job nor the pool names an image.
    """
    job_id = new_job_id()
    with database.transaction() as connection:
        found = find_pool(connection, account, pool)
        if found is None:
            raise InvalidArgument.field("nodePoolId", f"there is no node pool {pool!r} in this account")
        pool_row, default_image = found
        image_ref = spec.image_ref or default_image
        if not image_ref:
            raise InvalidArgument.field("imageRef", "is required: the pool has no default image")
        job_moves.insert_job(
            connection,
            job_id=job_id,
            batch_job_id=job_id,
            account_id=account,
            pool_row=pool_row,
            created_by=created_by,
            display_name=display_name,
            shared=shared,
            spec=JobSpec(**{**vars(spec), "image_ref": image_ref}),
        )
        rank_moves.insert_ranks(connection, job_id, 1, spec.num_ranks)
        record = read_job(connection, account, job_id)
    return record, pool_row
