"""Which objects are to be removed: those of deleted jobs, those that are kept no longer, those nobody knows of."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, delete, select, text

from core.database import Database
from core.jobs.object_paths import KINDS, job_folder
from core.models import DoomedObjects, Job

_DOOM = text("INSERT INTO doomed_objects (folder) SELECT unnest(CAST(:folders AS text[])) ON CONFLICT DO NOTHING")
# Whoever says that an attempt has been packed keeps the job's row from being locked so.
_LOCK = text("SELECT 1 FROM jobs WHERE id = :job FOR UPDATE")
_HAS_OBJECTS = text(
    "SELECT EXISTS (SELECT 1 FROM packed_attempts WHERE job_id = :job)"
    " OR EXISTS (SELECT 1 FROM rank_outputs WHERE job_id = :job)"
)


def doom(connection: Connection, folders: Collection[str]) -> None:
    """Have all objects below these folders removed once the transaction is committed."""
    connection.execute(_DOOM, {"folders": list(folders)})


def doom_objects_of(connection: Connection, job_id: str) -> None:
    """`doom` what there is of a job whose row is about to be deleted; most short-lived jobs have nothing."""
    connection.execute(_LOCK, {"job": job_id})
    if connection.execute(_HAS_OBJECTS, {"job": job_id}).scalar_one():
        doom(connection, [job_folder(kind, job_id) for kind in KINDS])


def doomed_folders(database: Database, most: int, but: Collection[str] = ()) -> list[str]:
    """Folders whose objects are to be removed, those that have waited longest, without those that are named."""
    query = select(DoomedObjects.folder).order_by(DoomedObjects.doomed_at).limit(most)
    if but:
        query = query.where(DoomedObjects.folder.not_in(but))
    with database.transaction() as connection:
        return list(connection.execute(query).scalars())


def forget_doomed(database: Database, folder: str) -> None:
    """The objects below it are gone."""
    with database.transaction() as connection:
        connection.execute(delete(DoomedObjects).where(DoomedObjects.folder == folder))


def jobs_gone(database: Database, job_ids: Collection[str]) -> set[str]:
    """Those of these keys that no job has. A key is never given again."""
    with database.transaction() as connection:
        there = connection.execute(select(Job.id).where(Job.id.in_(set(job_ids)))).scalars()
        return set(job_ids) - set(there)
