"""`longshore wait`, `cancel` and `rm`: the ends of jobs."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from client.calls.job_verbs import AsyncJob, Job
from client.command_line.exits import sentence
from client.command_line.following import tell_end
from client.command_line.session import FOLLOW_SECONDS, JobIds, Json, Session, session_of
from client.command_line.spans import seconds_of
from client.errors import Invalid, NotAllowed, NotFound, Refused, TimeIsUp

#: Each job that is waited for holds a stream open. The account's are counted, and others want some too.
_MOST_STREAMS = 20


def wait(
    context: typer.Context,
    job_ids: JobIds,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="SPAN", help="Give up after it: exit code 75.")
    ] = "",
    as_json: Json = False,
) -> int:
    """Wait until jobs have ended; exits with the code of the first of them that has not completed."""
    seconds = seconds_of(timeout) if timeout else None
    return asyncio.run(_wait(session_of(context, as_json), job_ids, seconds, timeout))


async def _wait(session: Session, job_ids: list[str], seconds: float | None, said: str) -> int:
    async with session.looped() as longshore:
        jobs = [await longshore.job(each) for each in job_ids]
        longshore.retry_seconds = FOLLOW_SECONDS
        room = asyncio.Semaphore(_MOST_STREAMS)
        waits = [asyncio.ensure_future(_ended(job, room)) for job in jobs]
        try:
            async with asyncio.timeout(seconds):
                ended: list[AsyncJob] = await asyncio.gather(*waits)
        except TimeoutError:
            still = [job.id for job, waited in zip(jobs, waits, strict=True) if not _is_done(waited)]
            raise TimeIsUp(f"not within {said}: {', '.join(still)}; they go on") from None
        finally:
            for each in waits:
                each.cancel()
        codes = [await job.exit_code() for job in ended]
        if session.screen.as_json:
            session.screen.json([{**job.fields, "exitCode": code} for job, code in zip(ended, codes, strict=True)])
        else:
            for job in ended:
                tell_end(session.screen, job, named=len(ended) > 1)
        return next((code for code in codes if code), 0)


async def _ended(job: AsyncJob, room: asyncio.Semaphore) -> AsyncJob:
    async with room:
        return await job.wait()


def _is_done(waited: asyncio.Future[AsyncJob]) -> bool:
    return waited.done() and not waited.cancelled() and waited.exception() is None


def cancel(context: typer.Context, job_ids: JobIds, as_json: Json = False) -> int:
    """Stop jobs, each that can be; again is no error."""
    session = session_of(context, as_json)
    errors: list[Refused] = []
    for job_id in job_ids:
        try:
            job = session.longshore.job(job_id)
            job.cancel()
        except (Invalid, NotAllowed, NotFound) as error:  # of this job alone
            errors.append(error)
        else:
            _tell(session, job, "is being cancelled")
    for other in errors[1:]:
        session.screen.fail(sentence(other))
    if errors:
        raise errors[0]
    return 0


def rm(
    context: typer.Context,
    job_ids: JobIds,
    as_json: Json = False,
) -> int:
    """Delete jobs with their output, all of them or none; those that live are stopped first."""
    session = session_of(context, as_json)
    session.longshore.delete_jobs(job_ids)
    return session.screen.done([{"id": each} for each in job_ids], f"deleted: {', '.join(job_ids)}")


def _tell(session: Session, job: Job, what: str) -> None:
    if session.screen.as_json:
        session.screen.json_line(dict(job.refresh().fields))
    else:
        session.screen.say(f"{job.id} {what}")
