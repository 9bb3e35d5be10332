"""Download a job's output as a file."""

from __future__ import annotations

from contextlib import ExitStack

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.batch_jobs.history_routes import ATTEMPT
from api.batch_jobs.log_query import CHOICE, asked_filter, asked_ranks, asked_since_ns
from api.dependencies import Platform, PlatformDep, caller_in_account
from api.download import DownloadResponse
from api.log_download import LogDownload, Wish
from api.needs import Need, needs
from api.openapi.operations import documented
from api.wire import query as wire_query
from api.wire.query import Parameter, read_query
from core.accounts import Caller
from core.jobs.reading import get_job

router = APIRouter()

_TEXT, _GZIP = "text", "gz"


def _read_format(values: list[str]) -> str:
    name = wire_query.single(values) or _TEXT
    if name not in (_TEXT, _GZIP):
        raise ValueError("must be text or gz")
    return name


_FORMAT = Parameter(_read_format, _TEXT, {"type": "string", "enum": [_TEXT, _GZIP], "default": _TEXT})
_QUERY = {**CHOICE, "startTime": wire_query.TIME, "attempt": ATTEMPT, "format": _FORMAT}
#: What a format is called on the wire, and in a file's name.
_TYPES = {_TEXT: ("text/plain; charset=utf-8", "log"), _GZIP: ("application/gzip", "log.gz")}
_CONTENT = {
    "text/plain": {"schema": {"type": "string"}},
    "application/gzip": {"schema": {"type": "string", "format": "binary"}},
}


@router.get("/batchJobs/{job_id}:downloadLogs", **documented(content=_CONTENT, query=_QUERY))
@needs(Need.READ)
async def download_logs(request: Request, job_id: str, platform: PlatformDep) -> Response:
    """All output of the latest attempt, or of the one asked for, or what `ranks`, `stream`, `filter`, `regex` and
    `startTime` choose of it, as a file, oldest first; of a job that still runs, what there is now.

    The bytes that the ranks printed. Of several ranks merged by time, each line behind its rank, as `[3] `; of a
    single one byte for byte. `format=gz` is the same, compressed. A download that cannot be whole is broken off.
    404, saying when it was removed and why, of output that is kept no longer.
    """
    caller, download, form = await run_in_threadpool(_read, request, job_id, platform)
    held = ExitStack()
    with held:
        held.enter_context(platform.streams.open(caller.account))
        await download.begin()
        held = held.pop_all()
    media_type, ending = _TYPES[form]
    return DownloadResponse(held, download.pieces(), media_type=media_type, file_name=f"{job_id}.{ending}")


def _read(request: Request, job_id: str, platform: Platform) -> tuple[Caller, LogDownload, str]:
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _QUERY)
    record = get_job(platform.database, caller.account, job_id)
    wish = Wish(
        attempt=query["attempt"] or record.attempt,
        ranks=asked_ranks(query, record),
        wanted=asked_filter(query),
        since_ns=asked_since_ns(query),
        as_gzip=query["format"] == _GZIP,
    )
    download = LogDownload(platform.database, platform.objects, platform.feeds, caller, record, wish)
    return caller, download, query["format"]
