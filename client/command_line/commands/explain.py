"""`longshore explain`: why a job waits, or what would become of one."""

from __future__ import annotations

from typing import Annotated

import typer

from client.command_line.commands import job_options as of
from client.command_line.session import Json, Session, session_of
from client.command_line.spans import clock
from client.errors import NotFound
from client.reads.jobs import BatchJob


def explain(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB | COMMAND...]", help="A job's id; or a command, with --dry-run."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Of a job that does not exist, as for submit.")
    ] = False,
    image: of.Image = None,
    ranks: of.Ranks = None,
    env: of.Variables = None,
    files: of.Files = None,
    pool: of.Pool = None,
    labels: of.Labels = None,
    cpu: of.Cpu = None,
    memory: of.Memory = None,
    priority: of.Priority = None,
    run_timeout: of.Timeout = None,
    body: of.Body = None,
    as_json: Json = False,
) -> int:
    """Say why a job waits or how it ended; with --dry-run or --body, what would become of one.

    longshore explain JOB

    longshore explain --dry-run --ranks 64 -- python train.py
    """
    options = {name: value for name, value in locals().items() if name not in _NOT_OF_THE_JOB}
    is_of_job = not dry_run and body is None
    if is_of_job and words is not None and words[1:] == ["--json"]:
        # Options end at the first word, for the sake of commands; an id has none of its own.
        words, as_json = words[:1], True
    session = session_of(context, as_json)
    if not is_of_job:
        wanted = of.body_of(options, words or [], pool=session.pool)
        return _tell(session, session.longshore.check_body(wanted))
    if not words or len(words) > 1:
        raise typer.BadParameter(
            "name one job; a command is explained with --dry-run, a whole job with --body FILE"
        )
    return _tell(session, session.longshore.job(words[0]))


_NOT_OF_THE_JOB = frozenset({"context", "words", "dry_run", "as_json"})


def _tell(session: Session, job: BatchJob) -> int:
    screen = session.screen
    if screen.as_json:
        screen.json(dict(job.fields))
        return 0
    exists = bool(job.create_time)
    waits = not exists or job.state in ("CREATING", "QUEUED")
    screen.facts(
        {
            "job": job.id,
            "state": job.state if exists else "",
            "why": job.status or "nothing is said",
            "reason": job.reason,
            "place": str(job.queue_position) if waits and job.queue_position else "",
            "expected": clock(job.estimated_start_time) if waits else "",
            "needs": f"{job.num_ranks} {'slot' if job.num_ranks == 1 else 'slots'} in pool {job.node_pool_id}",
            "pool": _room(session, job.node_pool_id) if waits else "",
        }
    )
    return 0


def _room(session: Session, pool_id: str) -> str:
    """What else is in the pool."""
    try:
        stats = session.longshore.pool(pool_id).node_pool_stats
    except NotFound:
        return ""
    jobs = ", ".join(
        f"{count} {state.lower()} ({stats.batch_job_ranks.get(state, 0)} ranks)"
        for state, count in stats.batch_job_count.items()
        if count
    )
    return f"{stats.node_count} {'node' if stats.node_count == 1 else 'nodes'}; jobs: {jobs or 'none'}"
