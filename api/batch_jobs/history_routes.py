"""What a job's ranks did, and its history."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from api.batch_jobs.history_out import EventList, EventRead, RankList, RankRead, event_read, rank_read
from api.dependencies import PlatformDep, caller_in_account
from api.needs import Need, needs
from api.openapi.operations import documented
from api.responses import json_response
from api.wire.lists import ListSchema, read_list
from api.wire.query import Parameter, read_query, single, whole_number
from api.wire.read_mask import read_mask_parameter
from core.jobs import history

router = APIRouter()


def _read_attempt(values: list[str]) -> int | None:
    number = whole_number(single(values) or "0")
    if number < 0:
        raise ValueError("must not be negative; leave it out for the latest attempt")
    return number or None


#: A query's attempt; None = the latest.
ATTEMPT = Parameter(_read_attempt, None, {"type": "integer", "format": "int32", "minimum": 0})
_RANKS = ListSchema("ranks", history.RANK_LISTING, RankRead, {"attempt": ATTEMPT})
_EVENTS = ListSchema("events", history.EVENT_LISTING, EventRead)
_RANK_QUERY = {"attempt": ATTEMPT, "readMask": read_mask_parameter(RankRead)}


@router.get("/batchJobs/{job_id}/ranks", **documented(answer=RankList, query=_RANKS.parameters))
@needs(Need.READ)
def list_ranks(request: Request, job_id: str, platform: PlatformDep) -> Response:
    """The ranks of a job's latest attempt, or of the one asked for, in rank order."""
    caller = caller_in_account(request, platform)
    asked = read_list(request.query_params.multi_items(), _RANKS, caller.account, job_id)
    page = history.list_ranks(
        platform.database, caller.account, job_id, asked.query, attempt=asked.extra["attempt"]
    )
    name = f"accounts/{caller.account}/batchJobs/{job_id}"
    return json_response(asked.answer([rank_read(name, record) for record in page.items], page))


@router.get("/batchJobs/{job_id}/ranks/{rank}", **documented(answer=RankRead, query=_RANK_QUERY))
@needs(Need.READ)
def get_rank(request: Request, job_id: str, rank: str, platform: PlatformDep) -> Response:
    """One rank: where it ran, how it ended."""
    caller = caller_in_account(request, platform)
    query: dict[str, Any] = read_query(request.query_params.multi_items(), _RANK_QUERY)
    record = history.get_rank(
        platform.database,
        caller.account,
        job_id,
        rank_number(caller.account, job_id, rank),
        attempt=query["attempt"],
    )
    name = f"accounts/{caller.account}/batchJobs/{job_id}"
    return json_response(query["readMask"].apply(rank_read(name, record)))


@router.get("/batchJobs/{job_id}/events", **documented(answer=EventList, query=_EVENTS.parameters))
@needs(Need.READ)
def list_events(request: Request, job_id: str, platform: PlatformDep) -> Response:
    """Every move of a job and of its ranks, oldest first."""
    caller = caller_in_account(request, platform)
    asked = read_list(request.query_params.multi_items(), _EVENTS, caller.account, job_id)
    page = history.list_events(platform.database, caller.account, job_id, asked.query)
    return json_response(asked.answer(map(event_read, page.items), page))


def rank_number(account: str, job_id: str, given: str) -> int:
    """A path's rank. Raises NotFound for what cannot be one."""
    try:
        number = whole_number(given)
    except ValueError:
        number = -1
    if number < 0:
        raise history.rank_not_found(account, job_id, given)
    return number
