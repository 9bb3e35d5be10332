"""`longshore open`: what is better looked at in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from client.command_line.browser import show_page, show_url
from client.command_line.session import Json, session_of


def open_page(
    context: typer.Context,
    job_id: Annotated[str | None, typer.Argument(metavar="[JOB]", help="A job with a notebook.")] = None,
    rank: Annotated[int, typer.Option("--rank", "-r", min=0)] = 0,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Not the latest, but this.")] = None,
    as_json: Json = False,
) -> int:
    """Show a job's notebook in the browser as far as it has come; without a job, the page of all calls."""
    session = session_of(context, as_json)
    if job_id is None:
        url = f"{session.longshore.settings.url}/docs"
        show_url(url)
        return session.screen.done({"url": url}, f"{url} is in the browser")
    page = session.longshore.job(job_id).notebook(rank, html=True, attempt=attempt)
    show_page(page)
    shown = {"job": job_id, "rank": rank, "sizeBytes": len(page)}
    return session.screen.done(shown, f"the notebook of {job_id}, rank {rank}, is in the browser")
