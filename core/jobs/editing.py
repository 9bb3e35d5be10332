"""What of a job may change after it was made: its name for people, and who may touch it."""

from __future__ import annotations

from sqlalchemy import text

from core.database import Database
from core.jobs.reading import JobRecord, not_found, read_job

_EDIT = text(
    "UPDATE jobs SET display_name = coalesce(:display_name, display_name), shared = coalesce(:shared, shared),"
    " updated_at = now() WHERE account_id = :account AND batch_job_id = :job"
)


def edit_job(
    database: Database, account: str, job_id: str, *, display_name: str | None = None, shared: bool | None = None
) -> JobRecord:
    """Set what is given, leave what is None; the job as it is then. Raises NotFound."""
    values = {"account": account, "job": job_id, "display_name": display_name, "shared": shared}
    with database.transaction() as connection:
        if (display_name, shared) != (None, None) and connection.execute(_EDIT, values).rowcount == 0:
            raise not_found(account, job_id)
        return read_job(connection, account, job_id)
