"""`longshore ps`: the account's jobs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from client.command_line.screen import laid_out
from client.command_line.session import Json, Session, session_of
from client.command_line.spans import ago, now
from client.reads.jobs import BatchJob

_LIVE = "NOT (state = COMPLETED OR state = FAILED OR state = CANCELLED)"
_COLUMNS = ("ID", "NAME", "STATE", "RANKS", "AGE", "STATUS")
_WATCH_SECONDS = 2.0


def ps(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Those that have ended too.")] = False,
    condition: Annotated[
        str, typer.Option("--filter", metavar="AIP-160", help='As: state = FAILED AND display_name = "nightly-*"')
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 50,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> int:
    """List jobs, newest first: those that live, or with -a or --filter all."""
    session = session_of(context, as_json)
    wanted = condition if everything or condition else _LIVE
    if watch:
        if as_json or not session.screen.out.is_terminal:
            raise typer.BadParameter("--watch needs a terminal; ask again and again with --json instead")
        return _watch(session, wanted, limit)
    jobs = list(session.longshore.jobs(wanted, limit=limit))
    if as_json:
        session.screen.json([dict(job.fields) for job in jobs])
        return 0
    session.screen.table(_COLUMNS, _rows(jobs))
    if not jobs and wanted == _LIVE:
        session.screen.say("no job lives; longshore ps -a shows those that have ended", "dim")
    return 0


def _watch(session: Session, wanted: str, limit: int) -> int:
    screen = session.screen
    with Live(console=screen.out, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        while True:
            live.update(_screenful(session, wanted, limit), refresh=True)
            # Nothing tells of a list; a single job is watched as its events come.
            time.sleep(_WATCH_SECONDS)


def _screenful(session: Session, wanted: str, limit: int) -> Text:
    rows = _rows(list(session.longshore.jobs(wanted, limit=limit)))
    return laid_out([_COLUMNS, *rows], session.screen.out.width, headed=True)


def _rows(jobs: Sequence[BatchJob]) -> list[tuple[str, ...]]:
    moment = now()
    return [
        (job.id, _short(job.display_name), job.state, str(job.num_ranks), ago(job.create_time, moment), job.status)
        for job in jobs
    ]


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"
