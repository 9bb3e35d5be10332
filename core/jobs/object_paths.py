"""Where in the object store what a job left is: `{kind}/{job's key}/{attempt}/{rank}…`. Pure."""

from __future__ import annotations

#: What there may be of a job, each below a folder of its own. Whatever is there goes with the job.
KINDS = ("logs", "outputs")


def job_folder(kind: str, job_id: str) -> str:
    """All of a job's of one kind."""
    return f"{kind}/{job_id}/"


def attempt_folder(kind: str, job_id: str, attempt: int) -> str:
    """All of an attempt's of one kind."""
    return f"{job_folder(kind, job_id)}{attempt}/"


def rank_log_path(job_id: str, attempt: int, rank: int, chunk_count: int) -> str:
    """What a rank printed, packed from so many chunks."""
    return f"{attempt_folder('logs', job_id, attempt)}{rank}-{chunk_count}"


def job_of_path(path: str) -> str | None:
    """Whose it is, by its key; None of a path that is not of this scheme."""
    kind, _, rest = path.partition("/")
    job_id, slash, _ = rest.partition("/")
    return job_id if kind in KINDS and job_id and slash else None
