"""`longshore logs`: what a job has printed, or prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated

import typer

from client.calls.job_verbs import Job
from client.command_line.log_lines import LogLines
from client.command_line.session import FOLLOW_SECONDS, JobId, Json, session_of
from client.command_line.spans import moment_of, now
from client.reads.jobs import LogEntry


def logs(
    context: typer.Context,
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    rank: Annotated[
        list[str] | None, typer.Option("--rank", "-r", metavar="N[,N]", help="Of these ranks only.")
    ] = None,
    since: Annotated[str, typer.Option("--since", metavar="WHEN", help="A time, or a span: 10m ago.")] = "",
    grep: Annotated[str, typer.Option("--grep", metavar="REGEX", help="Lines that match (RE2).")] = "",
    stream: Annotated[str, typer.Option("--stream", metavar="NAME", help="stdout or stderr alone.")] = "",
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=0, help="The last so many lines.")] = None,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Not the latest, but this.")] = None,
    times: Annotated[bool, typer.Option("--times", "-t", help="Each with its time.")] = False,
    as_json: Json = False,
) -> int:
    """Print a job's output, merged over its ranks by time."""
    if follow and (tail is not None or attempt is not None):
        raise typer.BadParameter(
            "-f begins with the latest attempt's first line; it goes with neither --tail nor --attempt"
        )
    session = session_of(context, as_json)
    job = session.longshore.job(job_id)
    ranks = _ranks(rank)
    moment = moment_of(since, now()) if since else None
    entries: Iterable[LogEntry]
    if follow:
        session.longshore.retry_seconds = FOLLOW_SECONDS
        entries = _not_before(job.follow(ranks=ranks, stream=stream, regex=grep), moment)
    else:
        entries = _printed(job, ranks, stream, grep, moment, tail, attempt)
    lines = LogLines(session.screen, job.num_ranks if ranks is None else len(ranks), times=times)
    for entry in entries:
        lines.write(entry)
    return 0


def _printed(
    job: Job,
    ranks: list[int] | None,
    stream: str,
    grep: str,
    since: datetime | None,
    tail: int | None,
    attempt: int | None,
) -> Iterable[LogEntry]:
    found = job.logs(
        ranks=ranks,
        stream=stream,
        regex=grep,
        since=since,
        attempt=attempt,
        newest_first=tail is not None,
        limit=tail,
    )
    return found if tail is None else reversed(list(found))


def _not_before(entries: Iterable[LogEntry], moment: datetime | None) -> Iterator[LogEntry]:
    for entry in entries:
        if moment is None or entry.log_time is None or entry.log_time >= moment:
            yield entry


def _ranks(given: list[str] | None) -> list[int] | None:
    if not given:
        return None
    numbers = [number.strip() for each in given for number in each.split(",")]
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise typer.BadParameter(f"--rank {','.join(given)}: ranks are numbers, as 0 or 0,3")
    return sorted({int(number) for number in numbers})
