"""`longshore events`: a job's history."""

from __future__ import annotations

import typer

from client.command_line.session import JobId, Json, session_of
from client.reads.jobs import Event


def events(context: typer.Context, job_id: JobId, as_json: Json = False) -> int:
    """List every move of a job and of its ranks, oldest first."""
    session = session_of(context, as_json)
    found = session.longshore.job(job_id).events()
    return session.screen.listed(found, ("TIME", "WHO", "STATE", "STATUS"), _row, folds=True)


def _row(event: Event) -> tuple[str, ...]:
    at = f"{event.time.astimezone():%H:%M:%S}" if event.time else ""
    who = "job" if event.rank is None else f"rank-{event.rank}"
    return at, who, event.state, event.status or event.reason
