"""Follow a job's output as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from sse_starlette import ServerSentEvent

from api.batch_jobs.log_position import position_token, read_position
from api.batch_jobs.log_query import CHOICE, asked_filter, asked_ranks
from api.batch_jobs.schema_out import batch_job, log_entries
from api.dependencies import Platform, PlatformDep, caller_in_account
from api.event_stream import LAST_EVENT_ID, HeldStream, sent_event
from api.job_watch import Event
from api.log_stream import Entries, LogStream, Question
from api.needs import Need, needs
from api.openapi.operations import documented
from api.wire.json_text import dump_json
from api.wire.query import read_query
from core.accounts import Caller
from core.errors import InvalidArgument
from core.jobs.reading import JobRecord, get_job
from core.jobs.watching import last_move

router = APIRouter()


@dataclass(frozen=True)
class _Asked:
    """A call that is in order. `bound_to` is what its ids are valid with."""

    caller: Caller
    record: JobRecord
    question: Question
    last_move: int
    bound_to: tuple[object, ...]


@router.get("/batchJobs/{job_id}:streamLogs", **documented(stream=True, query=CHOICE, resumable=True))
@needs(Need.READ)
async def stream_logs(request: Request, job_id: str, platform: PlatformDep) -> Response:
    """A job's output from its beginning, or from after `Last-Event-ID`, as it is printed, until the job has ended.

    Events: `log` (`attempt` and `entries` as getLogs has them, merged over ranks by time; its id goes on after
    them), then `end` (the whole BatchJob) or `deleted`, after which the stream is closed. Begins with the latest
    attempt, and goes on with those that follow it. `stream`, `filter` and `regex` choose as in getLogs. Of output
    that is kept no longer there is one entry that says so.
    """
    asked = await run_in_threadpool(_read, request, job_id, platform)
    held = ExitStack()
    held.enter_context(platform.streams.open(asked.caller.account))
    stream = LogStream(platform.feeds, platform.watch, asked.caller, asked.record, asked.question)
    return HeldStream(held, _sent(stream.events(asked.last_move), asked.bound_to))


def _read(request: Request, job_id: str, platform: Platform) -> _Asked:
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), CHOICE)
    record = get_job(platform.database, caller.account, job_id)
    ranks, wanted = asked_ranks(query, record), asked_filter(query)
    bound_to = ("follow", caller.account, job_id, *(repr(query[name]) for name in CHOICE))
    question = Question(ranks, wanted, record.attempt)
    given = request.headers.get(LAST_EVENT_ID)
    if given is not None:
        try:
            attempt, positions = read_position(given, bound_to)
        except InvalidArgument:
            fault = "must be the id of an event of this stream, of a call with the same parameters"
            raise InvalidArgument.field(LAST_EVENT_ID, fault) from None
        question = Question(ranks, wanted, min(attempt, record.attempt), positions)
    return _Asked(caller, record, question, last_move(platform.database, record.id), bound_to)


async def _sent(
    events: AsyncIterator[Entries | Event], bound_to: tuple[object, ...]
) -> AsyncIterator[ServerSentEvent]:
    async for event in events:
        if isinstance(event, Entries):
            entries = {"attempt": event.attempt, "entries": log_entries(event.entries)}
            yield sent_event("log", dump_json(entries), position_token(event.attempt, event.positions, bound_to))
        else:
            yield sent_event(event.name, dump_json({} if event.job is None else batch_job(event.job)))
