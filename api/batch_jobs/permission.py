"""Whose a job is: everyone in the account may read it, not everyone may change it (API.md, `shared`)."""

from __future__ import annotations

from collections.abc import Sequence

from api.dependencies import Platform
from core.accounts import Caller
from core.errors import PermissionDenied
from core.jobs.reading import JobRecord, get_job


def job_for_change(platform: Platform, caller: Caller, job_id: str) -> JobRecord:
    """The job, if the caller may update, cancel, delete or clone it. Raises NotFound, PermissionDenied."""
    record = get_job(platform.database, caller.account, job_id)
    if not may_change(caller, record):
        raise PermissionDenied("the job is not shared: only its creator and account admins may do this")
    return record


def jobs_for_change(platform: Platform, caller: Caller, job_ids: Sequence[str]) -> None:
    """`job_for_change` of several: whether all are there is asked first. Raises NotFound, PermissionDenied."""
    records = [get_job(platform.database, caller.account, job_id) for job_id in job_ids]
    closed = [record.batch_job_id for record in records if not may_change(caller, record)]
    if closed:
        raise PermissionDenied(f"not shared, so its creator's and account admins' to delete: {', '.join(closed)}")


def may_change(caller: Caller, record: JobRecord) -> bool:
    """Its creator and account admins, and, if it is shared, every user of the account."""
    return caller.is_admin or record.shared or record.created_by == caller.email
