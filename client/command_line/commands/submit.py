"""`longshore submit`: make a job, and follow it to its end."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from client.calls.job_verbs import AsyncJob
from client.command_line.commands import job_options as of
from client.command_line.following import Following
from client.command_line.session import FOLLOW_SECONDS, Json, Session, session_of
from client.longshore import AsyncLongshore

Detach = Annotated[bool, typer.Option("--detach", "-d", help="Print the id alone, do not follow.")]
Key = Annotated[
    str, typer.Option("--idempotency-key", help="Sent twice with the same key, it is one job.", metavar="KEY")
]


def submit(
    context: typer.Context,
    words: of.Words = None,
    image: of.Image = None,
    ranks: of.Ranks = None,
    env: of.Variables = None,
    files: of.Files = None,
    name: of.Name = None,
    pool: of.Pool = None,
    job_id: of.NewId = "",
    run_timeout: of.Timeout = None,
    detach: Detach = False,
    as_json: Json = False,
    parameters: of.Parameters = None,
    secret_env: of.SecretVariables = None,
    pull_secret: of.PullSecret = None,
    cpu: of.Cpu = None,
    memory: of.Memory = None,
    shm: of.Shm = None,
    labels: of.Labels = None,
    priority: of.Priority = None,
    attempts: of.Attempts = None,
    failure_policy: of.FailurePolicy = None,
    queue_timeout: of.QueueTimeout = None,
    pull_timeout: of.PullTimeout = None,
    working_directory: of.Workdir = None,
    keep_for: of.KeepFor = None,
    annotations: of.Annotations = None,
    shared: of.Shared = None,
    body: of.Body = None,
    idempotency_key: Key = "",
) -> int:
    """Make a job and follow it to its end; exits with the job's code.

    longshore submit --image longshore/python:3 --ranks 4 -- python train.py

    What follows the options is run: a .py or .ipynb file that is here is sent along; `python X` is run in the
    image as it is; anything else is a shell line. Without it the image's own command is run.
    """
    options = {name: value for name, value in locals().items() if name not in _NOT_OF_THE_JOB}
    session = session_of(context, as_json)
    wanted = of.body_of(options, words or [], pool=session.pool)

    async def make(longshore: AsyncLongshore) -> AsyncJob:
        return await longshore.submit_body(wanted, job_id, idempotency_key=idempotency_key)

    return made_and_followed(session, make, detach=detach)


_NOT_OF_THE_JOB = frozenset({"context", "words", "job_id", "detach", "as_json", "idempotency_key"})


def made_and_followed(session: Session, make: Any, *, detach: bool) -> int:
    """Make a job, then print its id, or follow it. The exit code."""
    return asyncio.run(_make_and_follow(session, make, detach=detach))


async def _make_and_follow(session: Session, make: Any, *, detach: bool) -> int:
    screen = session.screen
    async with session.looped() as longshore:
        job: AsyncJob = await make(longshore)
        if detach:
            if screen.as_json:
                screen.json(job.fields)
            else:
                screen.line(job.id)
            return 0
        longshore.retry_seconds = FOLLOW_SECONDS
        if not screen.as_json:
            screen.say(f"job {job.id}", "dim")
        return await Following(screen, job).exit_code()
