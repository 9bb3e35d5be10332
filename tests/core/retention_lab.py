"""Jobs that ended so many days ago, their output packed, and what retention has left of it."""

from __future__ import annotations

from core.errors import OutputRemoved
from core.jobs.outputs import get_outputs
from core.jobs.retention import Retention
from tests.api.left_outputs import leave_outputs
from tests.core.packing_lab import DAYS, PackingLab

BY_AGE = Retention(days=DAYS)


def packed(lab: PackingLab, *ages: float, chunks: int = 3) -> list[str]:
    """Jobs whose output is in objects, and which ended so many days ago."""
    jobs = [lab.ended(1, chunks=chunks) for _ in ages]
    lab.pack()
    for job, days in zip(jobs, ages, strict=True):
        grow_old(lab, job, days)
    return jobs


def grow_old(lab: PackingLab, job: str, days: float) -> None:
    for table, column in (("packed_attempts", "ended_at"), ("notebooks", "kept_at")):
        lab.rows.execute(
            f"UPDATE {table} SET {column} = now() - interval '{days} days' WHERE job_id = :j",
            job,
        )
    lab.rows.execute(f"UPDATE jobs SET ended_at = now() - interval '{days} days' WHERE id = :j", job)


def bound(lab: PackingLab, **values: int | None) -> None:
    """What the account says itself."""
    for name, value in values.items():
        lab.rows.execute(f"UPDATE accounts SET {name} = {value or 'NULL'} WHERE id = :j", lab.rows.account)


def kept(lab: PackingLab, *jobs: str) -> list[str]:
    """Those of the jobs whose output can be read, each whole."""
    found = []
    for job in jobs:
        try:
            assert lab.read(job)
            found.append(job)
        except OutputRemoved:
            assert lab.rows.execute("SELECT 1 FROM log_objects WHERE job_id = :j", job) == []
    return found


def kept_bytes(lab: PackingLab) -> int:
    """By the count that is kept; it must be that of the rows."""
    ((counted,),) = lab.rows.execute(
        "SELECT coalesce(sum(object_bytes), 0) FROM kept_bytes WHERE account_id = :j", lab.rows.account
    )
    of_kind = "SELECT coalesce(sum(object_bytes), 0) FROM {} WHERE account_id = :j AND removed_at IS NULL"
    ((there,),) = lab.rows.execute(
        f"SELECT ({of_kind.format('packed_attempts')}) + ({of_kind.format('rank_outputs')})", lab.rows.account
    )
    assert counted == there
    return int(there)


def run(lab: PackingLab, limits: Retention) -> None:
    """What is due of it is removed, with its objects."""
    packer = lab.packer(retention=limits)
    packer.step()
    packer.step()


def left(lab: PackingLab, *ages: float, size: int = 10) -> list[str]:
    """Jobs whose first rank left a file, and which ended so many days ago."""
    jobs = [lab.printed(2, chunks=1) for _ in ages]
    for job, days in zip(jobs, ages, strict=True):
        leave_outputs(lab.database, lab.folder.as_uri(), job, {"a": bytes(size)})
        lab.end(job)
        lab.rows.execute(
            f"UPDATE rank_outputs SET collected_at = now() - interval '{days} days' WHERE job_id = :j", job
        )
    return jobs


def outputs_kept(lab: PackingLab, *jobs: str) -> list[str]:
    """Those of the jobs whose outputs are there, with their object; of the others nothing is, and it is said."""
    found = []
    for job in jobs:
        try:
            assert lab.store.read(get_outputs(lab.database, lab.rows.account, job, 0).path)
            found.append(job)
        except OutputRemoved as error:
            assert "what rank 0 left was removed on" in str(error)
            assert lab.rows.execute("SELECT 1 FROM output_files WHERE job_id = :j", job) == []
            assert [path for path in lab.paths(job) if path.startswith("outputs/")] == []
    return found
