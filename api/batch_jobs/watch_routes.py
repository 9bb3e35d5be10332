"""Watch a job as server-sent events: every change of its state and status until its end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from sse_starlette import ServerSentEvent

from api.batch_jobs.schema_out import batch_job, time_or_null
from api.dependencies import Platform, PlatformDep, caller_in_account
from api.event_stream import LAST_EVENT_ID, HeldStream, sent_event
from api.job_watch import Event
from api.needs import Need, needs
from api.openapi.operations import documented
from api.wire.json_text import dump_json
from api.wire.query import read_query
from api.wire.times import format_time
from core.accounts import Caller
from core.errors import InvalidArgument
from core.jobs.reading import JobRecord, get_job
from core.jobs.watching import Move, last_move

router = APIRouter()

_MAX_ID = 2**63 - 1


@router.get("/batchJobs/{job_id}:watch", **documented(stream=True, query={}, resumable=True))
@needs(Need.READ)
async def watch_batch_job(request: Request, job_id: str, platform: PlatformDep) -> Response:
    """Every state and status of a job, from now or from after `Last-Event-ID`, until it has ended.

    Events: `job` (the whole BatchJob, first), `state` (a transition; its id resumes), `status` (the same state,
    another sentence, place in the queue or estimated start), then `end` (the whole BatchJob) or `deleted`, after
    which the stream is closed.
    """
    caller, record, after = await run_in_threadpool(_begin, request, job_id, platform)
    held = ExitStack()
    held.enter_context(platform.streams.open(caller.account))
    return HeldStream(held, (_sent(event) async for event in platform.watch.events(caller, record, after)))


def _begin(request: Request, job_id: str, platform: Platform) -> tuple[Caller, JobRecord, int]:
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    given = request.headers.get(LAST_EVENT_ID)
    after = None if given is None else _event_id(given)
    record = get_job(platform.database, caller.account, job_id)
    return caller, record, last_move(platform.database, record.id) if after is None else after


def _sent(event: Event) -> ServerSentEvent:
    """A move has an id, by which a client goes on after it; what else is told is told anew to whoever comes."""
    data: Mapping[str, Any] = {}
    if event.move is not None:
        data = _moved(event.move)
    elif event.job is not None:
        data = _status(event.job) if event.name == "status" else batch_job(event.job)
    return sent_event(event.name, dump_json(data), None if event.move is None else str(event.move.id))


def _moved(move: Move) -> dict[str, Any]:
    return {
        "time": format_time(move.at),
        "state": move.state,
        "reason": move.reason,
        "status": move.status,
        "attempt": move.attempt,
    }


def _status(job: JobRecord) -> dict[str, Any]:
    return {
        "time": format_time(job.updated_at),
        "state": job.state.value,
        "reason": job.reason,
        "status": job.status,
        "attempt": job.attempt,
        "queuePosition": job.queue_position,
        "estimatedStartTime": time_or_null(job.estimated_start_at),
    }


def _event_id(given: str) -> int:
    if not given.isascii() or not given.isdigit() or len(given) > 19 or int(given) > _MAX_ID:
        raise InvalidArgument.field(LAST_EVENT_ID, "must be the id of an event of this stream")
    return int(given)
