"""What a job's ranks used: each over time, and all of them in one list."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.batch_jobs.history_routes import ATTEMPT, rank_number
from api.batch_jobs.usage_out import (
    NS_OF_MS,
    JobUsageList,
    RankSeriesRead,
    RankUsageRead,
    job_usage_read,
    rank_series_read,
    rank_usage_read,
)
from api.dependencies import PlatformDep, caller_in_account
from api.needs import Need, needs
from api.openapi.operations import documented
from api.responses import json_response
from api.wire import query as wire_query
from api.wire.lists import ListSchema, read_list
from api.wire.query import read_query
from core.usage import reading

router = APIRouter()

#: A series that is stored has hardly more points.
_MOST_POINTS = 1440
_USAGE = ListSchema("ranks", reading.USAGE_LISTING, RankUsageRead, {"attempt": ATTEMPT})
_SERIES_QUERY = {
    "attempt": ATTEMPT,
    "startTime": wire_query.TIME,
    "maxPoints": wire_query.page_size(_MOST_POINTS, _MOST_POINTS),
}


@router.get(
    "/batchJobs/{job_id}:getUsage",
    **documented(answer=JobUsageList, query=_USAGE.parameters, operation_id="batchJobs_getUsage"),
)
@needs(Need.READ)
def get_usage(request: Request, job_id: str, platform: PlatformDep) -> Response:
    """What each rank of a job's latest attempt, or of the one asked for, has used, and all of them together."""
    caller = caller_in_account(request, platform)
    asked = read_list(request.query_params.multi_items(), _USAGE, caller.account, job_id)
    page, total = reading.list_usage(
        platform.database, caller.account, job_id, asked.query, attempt=asked.extra["attempt"]
    )
    name = f"accounts/{caller.account}/batchJobs/{job_id}"
    listed = asked.answer([rank_usage_read(name, record) for record in page.items], page)
    return json_response({"attempt": total.attempt, "total": job_usage_read(total), **listed})


@router.get(
    "/batchJobs/{job_id}/ranks/{rank}/usage",
    **documented(answer=RankSeriesRead, query=_SERIES_QUERY, operation_id="batchJobs_ranks_getUsage"),
)
@needs(Need.READ)
def get_rank_usage(request: Request, job_id: str, rank: str, platform: PlatformDep) -> Response:
    """CPU, memory, network and block I/O of one rank over time, oldest first, from `startTime` on.

    Merged to no more than `maxPoints` points, at equal intervals; memory is then the most of an interval."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _SERIES_QUERY)
    series = reading.get_series(
        platform.database,
        caller.account,
        job_id,
        rank_number(caller.account, job_id, rank),
        attempt=query["attempt"],
        since_ms=-(-query["startTime"] // NS_OF_MS),
        most=query["maxPoints"],
    )
    name = f"accounts/{caller.account}/batchJobs/{job_id}"
    return json_response(rank_series_read(name, series))
