"""`longshore clone`: a job again, or nearly so."""

from __future__ import annotations

import typer

from client.calls.job_body import over
from client.calls.job_verbs import AsyncJob
from client.command_line.commands import job_options as of
from client.command_line.commands.submit import Detach, made_and_followed
from client.command_line.session import JobId, Json, session_of
from client.longshore import AsyncLongshore


def clone(
    context: typer.Context,
    source: JobId,
    image: of.Image = None,
    ranks: of.Ranks = None,
    env: of.Variables = None,
    files: of.Files = None,
    name: of.Name = None,
    pool: of.Pool = None,
    job_id: of.NewId = "",
    run_timeout: of.Timeout = None,
    parameters: of.Parameters = None,
    cpu: of.Cpu = None,
    memory: of.Memory = None,
    priority: of.Priority = None,
    attempts: of.Attempts = None,
    body: of.Body = None,
    detach: Detach = False,
    as_json: Json = False,
) -> int:
    """Make a new job with the fields and files of another, but for what is given here, and follow it.

    longshore clone JOB --ranks 8 -e LR=0.01
    """
    options = {name: value for name, value in locals().items() if name not in _NOT_OF_THE_JOB}
    session = session_of(context, as_json)

    async def make(longshore: AsyncLongshore) -> AsyncJob:
        changes = of.body_of(options)
        old = await longshore.job(source)
        if parameters:
            changes["notebookExecutor"] = of.with_parameters(old.notebook_executor, parameters)
        # The wire replaces a map as a whole; here one variable, one clock is changed. Fields that are not named
        # are left to the platform: of what a job is read as, some cannot be sent.
        whole = over(old.fields, changes)
        return await longshore.clone_body(source, {name: whole[name] for name in changes}, job_id)

    return made_and_followed(session, make, detach=detach)


_NOT_OF_THE_JOB = frozenset({"context", "source", "job_id", "detach", "as_json", "parameters"})
