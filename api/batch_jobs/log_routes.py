"""What a job's ranks left: log entries by page, and executed notebooks."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from api.batch_jobs.history_routes import ATTEMPT, rank_number
from api.batch_jobs.log_position import position_token, read_position
from api.batch_jobs.log_query import CHOICE, asked_filter, asked_ranks, asked_since_ns
from api.batch_jobs.schema_out import LogEntryList, LogEntryRead, log_entries
from api.dependencies import PlatformDep, caller_in_account
from api.needs import Need, needs
from api.notebook_page import PAGE_HEADERS, notebook_page
from api.openapi.operations import documented
from api.responses import json_response
from api.wire import query as wire_query
from api.wire.query import read_query
from api.wire.read_mask import ReadMask, read_mask_parameter
from core.errors import InvalidArgument, OutputRemoved
from core.jobs.reading import get_job, get_notebook
from core.logs import Position, page_in_place_of, read_page

router = APIRouter()

_LOG_QUERY = {
    **CHOICE,
    "pageSize": wire_query.page_size(100, 10_000),
    "pageToken": wire_query.TEXT,
    "startTime": wire_query.TIME,
    "startFromHead": wire_query.FLAG,
    "attempt": ATTEMPT,
    "readMask": read_mask_parameter(LogEntryRead),
}
_NOTEBOOK_QUERY = {"format": wire_query.TEXT, "attempt": ATTEMPT}
_NOTEBOOK_TYPE = "application/x-ipynb+json"


@router.get("/batchJobs/{job_id}:getLogs", **documented(answer=LogEntryList, query=_LOG_QUERY, errors=[501]))
@needs(Need.READ)
def get_logs(request: Request, job_id: str, platform: PlatformDep) -> Response:
    """A page of output, merged over ranks; newest first unless `startFromHead`. Of the latest attempt, unless one
    is asked for.

    `stream`, `filter` (a text in the line) and `regex` (RE2) must all be met. A page examines a bounded amount of
    output: where little of it is met, pages are short or empty, and go on by `nextPageToken` until that is empty.
    Of output that is kept no longer there is one entry, whatever is asked for: when it was removed, and why.
    """
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _LOG_QUERY)
    record = get_job(platform.database, caller.account, job_id)
    ranks = asked_ranks(query, record)
    mask: ReadMask = query["readMask"]
    asked = [repr(query[name]) for name in _LOG_QUERY if name != "pageToken"]
    bound_to = ("logs", caller.account, job_id, *asked)
    attempt = query["attempt"] or record.attempt
    positions: Mapping[int, Position] | None = None
    if query["pageToken"]:
        attempt, positions = read_position(query["pageToken"], bound_to)
    try:
        page = read_page(
            platform.database,
            record.id,
            attempt,
            store=platform.objects,
            ranks=ranks,
            limit=query["pageSize"],
            from_head=query["startFromHead"],
            wanted=asked_filter(query),
            since_ns=asked_since_ns(query),
            positions=positions,
        )
    except OutputRemoved as removed:
        page = page_in_place_of(removed, ranks, positions)
    answer = {
        "entries": [mask.apply(entry) for entry in log_entries(page.entries)],
        "nextPageToken": position_token(attempt, page.positions, bound_to) if page.has_more else "",
    }
    return json_response(answer)


@router.get(
    "/batchJobs/{job_id}/ranks/{rank}/notebook",
    **documented(
        content={_NOTEBOOK_TYPE: {"schema": {"type": "object"}}, "text/html": {"schema": {"type": "string"}}},
        query=_NOTEBOOK_QUERY,
        operation_id="batchJobs_ranks_getNotebook",
    ),
)
@needs(Need.READ)
def get_executed_notebook(request: Request, job_id: str, rank: str, platform: PlatformDep) -> Response:
    """The notebook as papermill left it, also after a failure; with `format=html` as a page for people."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _NOTEBOOK_QUERY)
    if query["format"] not in ("", "ipynb", "html"):
        raise InvalidArgument.field("format", "must be ipynb or html")
    number = rank_number(caller.account, job_id, rank)
    notebook = get_notebook(platform.database, caller.account, job_id, number, attempt=query["attempt"])
    if query["format"] != "html":
        return Response(notebook, media_type=_NOTEBOOK_TYPE)
    page = notebook_page(notebook, f"{job_id}, rank {number}")
    return Response(page, media_type="text/html", headers=PAGE_HEADERS)
