"""Where in the object store what a job left is: `{kind}/{job's key}/{attempt}/{rank}…`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: What there may be of a job, each below a folder of its own. Whatever is there goes with the job.
KINDS = ("logs", "outputs")
_ATTEMPT = re.compile(r"[0-9]{1,9}")


def job_folder(kind: str, job_id: str) -> str:
    """All of a job's of one kind."""
    return f"{kind}/{job_id}/"


def attempt_folder(kind: str, job_id: str, attempt: int) -> str:
    """All of an attempt's of one kind."""
    return f"{job_folder(kind, job_id)}{attempt}/"


def rank_log_path(job_id: str, attempt: int, rank: int, chunk_count: int) -> str:
    """What a rank printed, packed from so many chunks."""
    return f"{attempt_folder('logs', job_id, attempt)}{rank}-{chunk_count}"


def rank_outputs_path(job_id: str, attempt: int, rank: int) -> str:
    """What a rank left: the same whoever collects it, so that whoever is late with it harms nothing."""
    return f"{attempt_folder('outputs', job_id, attempt)}{rank}"


@dataclass(frozen=True)
class Owner:
    """Whose an object is; `attempt` is 0 where its path does not say so."""

    kind: str
    job_id: str
    attempt: int


def owner_of_path(path: str) -> Owner | None:
    """Whose it is; None of a path that is not of this scheme."""
    kind, _, rest = path.partition("/")
    job_id, slash, rest = rest.partition("/")
    attempt, _, _ = rest.partition("/")
    if kind not in KINDS or not job_id or not slash:
        return None
    return Owner(kind, job_id, int(attempt) if _ATTEMPT.fullmatch(attempt) else 0)
