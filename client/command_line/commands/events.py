"""`longshore events`: a job's history."""

from __future__ import annotations

import typer

from client.command_line.session import JobId, Json, session_of


def events(context: typer.Context, job_id: JobId, as_json: Json = False) -> int:
    """List every move of a job and of its ranks, oldest first."""
    session = session_of(context, as_json)
    found = list(session.longshore.job(job_id).events())
    if as_json:
        session.screen.json([dict(event.fields) for event in found])
        return 0
    session.screen.table(
        ("TIME", "WHO", "STATE", "STATUS"),
        (
            (
                f"{event.time.astimezone():%H:%M:%S}" if event.time else "",
                "job" if event.rank is None else f"rank-{event.rank}",
                event.state,
                event.status or event.reason,
            )
            for event in found
        ),
        folds=True,
    )
    return 0
