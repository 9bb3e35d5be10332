"""`longshore show`: one job with its ranks."""

from __future__ import annotations

import typer

from client.calls.job_files import mebibytes
from client.command_line.session import JobId, Json, session_of
from client.command_line.spans import clock, lasted
from client.reads.jobs import BatchJob, Rank

_MOST_RANKS = 50


def show(context: typer.Context, job_id: JobId, as_json: Json = False) -> int:
    """Show a job: state, why, what it runs, and how each rank fares."""
    session = session_of(context, as_json)
    job = session.longshore.job(job_id)
    ranks = job.ranks()
    screen = session.screen
    if as_json:
        screen.json({**job.fields, "ranks": [dict(rank.fields) for rank in ranks]})
        return 0
    screen.facts(_facts(job))
    screen.line("")
    # Those that failed are what one looks for.
    ordered = sorted(ranks, key=lambda rank: (rank.state not in ("FAILED", "LOST"), rank.rank))
    screen.table(("RANK", "STATE", "NODE", "EXIT", "TOOK", "STATUS"), map(_row, ordered[:_MOST_RANKS]), folds=True)
    if len(ranks) > _MOST_RANKS:
        screen.say(f"and {len(ranks) - _MOST_RANKS} more; --json has them all", "dim")
    return 0


def _facts(job: BatchJob) -> dict[str, str]:
    began, ended = job.start_time, job.end_time
    return {
        "id": job.id,
        "name": job.display_name,
        "state": job.state,
        "status": job.status,
        "reason": job.reason,
        "runs": _what(job),
        "image": job.image_ref,
        "pool": job.node_pool_id,
        "ranks": str(job.num_ranks),
        "attempt": str(job.attempt) if job.attempt > 1 else "",
        "created": f"{clock(job.create_time)} by {job.created_by}",
        "started": clock(began),
        "ended": clock(ended) + (f", after {lasted((ended - began).total_seconds())}" if began and ended else ""),
        "expected": clock(job.estimated_start_time),
        "files": ", ".join(f"{each.name} ({mebibytes(each.size_bytes)})" for each in job.uploads),
        "variables": " ".join(f"{name}={value}" for name, value in job.env_vars.items()),
    }


def _what(job: BatchJob) -> str:
    if job.shell_executor is not None:
        return str(job.shell_executor.get("command", ""))
    if job.python_executor is not None:
        python = job.python_executor
        flag = ["-m"] if python.get("targetType") == "MODULE" else []
        return " ".join(["python", *flag, str(python.get("target", "")), *python.get("args", ())])
    if job.notebook_executor is not None:
        return f"notebook {job.notebook_executor.get('notebookFilename', '')}"
    return "the image's own command"


def _row(rank: Rank) -> tuple[str, ...]:
    took = (rank.end_time - rank.start_time).total_seconds() if rank.start_time and rank.end_time else None
    code = "" if rank.exit_code is None else str(rank.exit_code)
    return str(rank.rank), rank.state, rank.node_id, code, "" if took is None else lasted(took), rank.status
