"""Files that came with a job: kept beside its row, put into each of its containers, read back by name."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, insert, select, text

from core.database import Database
from core.errors import NotFound
from core.jobs.reading import read_job
from core.models import JobFile

_LEVEL = 6  # written once, and read for every container
_COPY = text(
    "INSERT INTO job_files (job_id, name, content) SELECT :to, name, content FROM job_files"
    " WHERE job_id = :from AND name = ANY(:names)"
)
_ALL = select(JobFile.name, JobFile.content).where(JobFile.job_id == bindparam("job")).order_by(JobFile.name)
_ONE = select(JobFile.content).where(JobFile.job_id == bindparam("job"), JobFile.name == bindparam("name"))


def store_files(connection: Connection, job_id: str, contents: Mapping[str, bytes]) -> None:
    """Write a new job's files, in the transaction that makes the job."""
    rows = [
        {"job_id": job_id, "name": name, "content": zlib.compress(content, _LEVEL)}
        for name, content in contents.items()
    ]
    if rows:
        connection.execute(insert(JobFile), rows)


def copy_files(connection: Connection, from_job: str, to_job: str, names: list[str]) -> None:
    """Write another job's files of these names as a new job's. Raises NotFound where it was deleted meanwhile."""
    if names and connection.execute(_COPY, {"from": from_job, "to": to_job, "names": names}).rowcount < len(names):
        raise NotFound("the job that the files are of was deleted meanwhile")


def read_files(database: Database, job_id: str) -> dict[str, bytes]:
    """All files of a job, by name. `job_id` is the key of its rows."""
    with database.transaction() as connection:
        return {row.name: zlib.decompress(row.content) for row in connection.execute(_ALL, {"job": job_id})}


def get_file(database: Database, account: str, job_id: str, name: str) -> bytes:
    """One file of the account's job. Raises NotFound."""
    with database.transaction() as connection:
        record = read_job(connection, account, job_id)
        # Postgres takes no NUL in a text, and no file's name has one.
        content = None
        if "\0" not in name:
            content = connection.execute(_ONE, {"job": record.id, "name": name}).scalar()
    if content is None:
        raise NotFound(f"there is no file accounts/{account}/batchJobs/{job_id}/files/{name}")
    return zlib.decompress(content)
