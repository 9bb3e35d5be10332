"""`longshore notebook`: the executed notebook, as a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from client.command_line.session import JobId, Json, session_of


def notebook(
    context: typer.Context,
    job_id: JobId,
    rank: Annotated[int, typer.Option("--rank", "-r", min=0)] = 0,
    html: Annotated[bool, typer.Option("--html", help="As a page, instead of .ipynb.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; - for stdout. JOB.ipynb or .html."),
    ] = None,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Not the latest, but this.")] = None,
    as_json: Json = False,
) -> int:
    """Save the executed notebook of a job, also of one that failed or still runs."""
    session = session_of(context, as_json)
    job = session.longshore.job(job_id)
    content = job.notebook(rank, html=html, attempt=attempt)
    if str(output) == "-":
        sys.stdout.buffer.write(content)
        return 0
    own = f"{job.id}{f'-rank-{rank}' if rank else ''}.{'html' if html else 'ipynb'}"
    path = output or Path(own)
    path.write_bytes(content)
    if as_json:
        session.screen.json({"file": str(path), "sizeBytes": len(content)})
    else:
        session.screen.line(str(path))
    return 0
