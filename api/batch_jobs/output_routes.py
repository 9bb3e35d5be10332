"""What a rank left in $LONGSHORE_OUTPUT_DIR: listed, and downloaded file by file or as a whole."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.batch_jobs.history_routes import ATTEMPT, rank_number
from api.batch_jobs.output_out import OutputFileRead, OutputList, output_file_read, rank_outputs_read
from api.dependencies import Platform, PlatformDep, caller_in_account
from api.download import DownloadResponse
from api.needs import Need, needs
from api.object_download import ObjectDownload
from api.openapi.operations import documented
from api.responses import json_response
from api.wire.lists import ListSchema, read_list
from api.wire.query import read_query
from core.accounts import Caller
from core.errors import Unavailable
from core.jobs import outputs

router = APIRouter()

_OUTPUTS = ListSchema("outputs", outputs.OUTPUT_LISTING, OutputFileRead, {"attempt": ATTEMPT})
_QUERY = {"attempt": ATTEMPT}
_BINARY, _TAR = "application/octet-stream", "application/x-tar"
_BYTES = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/batchJobs/{job_id}/ranks/{rank}/outputs",
    **documented(answer=OutputList, query=_OUTPUTS.parameters, operation_id="batchJobs_ranks_listOutputs"),
)
@needs(Need.READ)
def list_outputs(request: Request, job_id: str, rank: str, platform: PlatformDep) -> Response:
    """The files that a rank left, by their paths; there once the rank has ended. Of the latest attempt, unless one
    is asked for."""
    caller = caller_in_account(request, platform)
    number = rank_number(caller.account, job_id, rank)
    asked = read_list(request.query_params.multi_items(), _OUTPUTS, caller.account, job_id, number)
    page, record = outputs.list_outputs(
        platform.database, caller.account, job_id, number, asked.query, attempt=asked.extra["attempt"]
    )
    name = f"accounts/{caller.account}/batchJobs/{job_id}/ranks/{number}"
    listed = asked.answer([output_file_read(name, each) for each in page.items], page)
    return json_response({"attempt": record.attempt, "summary": rank_outputs_read(record), **listed})


@router.get(
    "/batchJobs/{job_id}/ranks/{rank}/outputs/{output:path}",
    **documented(content={_BINARY: _BYTES}, query=_QUERY, operation_id="batchJobs_ranks_downloadOutput"),
)
@needs(Need.READ)
async def download_output(
    request: Request, job_id: str, rank: str, output: str, platform: PlatformDep
) -> Response:
    """A file that a rank left, by its path. A download that cannot be whole is broken off."""
    find = partial(_find_file, request, job_id, rank, output, platform)
    return await _answer(platform, find, _BINARY, output.rpartition("/")[2])


@router.get(
    "/batchJobs/{job_id}/ranks/{rank}:downloadOutputs",
    **documented(content={_TAR: _BYTES}, query=_QUERY, operation_id="batchJobs_ranks_downloadOutputs"),
)
@needs(Need.READ)
async def download_outputs(request: Request, job_id: str, rank: str, platform: PlatformDep) -> Response:
    """All files that a rank left, as a tar. A download that cannot be whole is broken off."""
    find = partial(_find_all, request, job_id, rank, platform)
    return await _answer(platform, find, _TAR, f"{job_id}-{rank}.tar")


def _find_file(
    request: Request, job_id: str, rank: str, output: str, platform: Platform
) -> tuple[Caller, ObjectDownload]:
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _QUERY)
    number = rank_number(caller.account, job_id, rank)
    record, found = outputs.get_output_file(
        platform.database, caller.account, job_id, number, output, attempt=query["attempt"]
    )
    return caller, ObjectDownload(platform, caller, record.path, found.offset_bytes, found.size_bytes)


def _find_all(request: Request, job_id: str, rank: str, platform: Platform) -> tuple[Caller, ObjectDownload]:
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _QUERY)
    number = rank_number(caller.account, job_id, rank)
    record = outputs.get_outputs(platform.database, caller.account, job_id, number, attempt=query["attempt"])
    return caller, ObjectDownload(platform, caller, record.path, 0, record.object_bytes)


async def _answer(
    platform: Platform, find: Callable[[], tuple[Caller, ObjectDownload]], media_type: str, file_name: str
) -> Response:
    caller, download = await run_in_threadpool(find)
    held = ExitStack()
    with held:
        held.enter_context(platform.streams.open(caller.account))
        try:
            await download.begin()
        except Unavailable:
            # Its object may have been removed since its rows were read: those say so now.
            await run_in_threadpool(find)
            raise
        held = held.pop_all()
    size = {"Content-Length": str(download.size)}
    return DownloadResponse(held, download.pieces(), media_type=media_type, file_name=file_name, more_headers=size)
