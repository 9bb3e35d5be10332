"""What a job's ranks left: log entries by page, and executed notebooks."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.batch_jobs.routes import json_response
from api.batch_jobs.schema_out import LogEntryList, log_entries
from api.dependencies import PlatformDep, caller_in_account
from api.wire import query as wire_query
from api.wire.page_tokens import bad_page_token, make_page_token, read_page_token
from api.wire.query import WHOLE_RESOURCE, openapi_parameters, read_query, refuse_unserved, whole_number
from core.errors import InvalidArgument, NotFound
from core.jobs.reading import get_job, get_notebook
from core.logs import LogPage, Position, read_page

router = APIRouter()

_LOG_QUERY = {
    "ranks": wire_query.NUMBERS,
    "pageSize": wire_query.page_size(100, 10_000),
    "pageToken": wire_query.TEXT,
    "startTime": wire_query.TIME,
    "filter": wire_query.TEXT,
    "startFromHead": wire_query.FLAG,
    "readMask": wire_query.TEXT,
}
_NOTEBOOK_QUERY = {"format": wire_query.TEXT}
_NOTEBOOK_TYPE = "application/x-ipynb+json"
_MAX_NS = 2**63 - 1
_MAX_INT32 = 2**31 - 1


@router.get(
    "/batchJobs/{job_id}:getLogs",
    responses={200: {"model": LogEntryList}},
    openapi_extra=openapi_parameters(_LOG_QUERY),
)
def get_logs(request: Request, job_id: str, platform: PlatformDep) -> Response:
    """A page of output, merged over ranks; newest first unless `startFromHead`."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _LOG_QUERY)
    refuse_unserved(query, {"readMask": WHOLE_RESOURCE})
    record = get_job(platform.database, caller.account, job_id)
    ranks = query["ranks"]
    if ranks is not None and ranks[-1] >= record.spec.num_ranks:
        raise InvalidArgument.field("ranks", f"the job's ranks are 0 to {record.spec.num_ranks - 1}")
    asked = [query[name] for name in _LOG_QUERY if name != "pageToken"]
    bound_to = ("logs", caller.account, job_id, *asked)
    attempt, positions = record.attempt, None
    if query["pageToken"]:
        attempt, positions = _token_positions(read_page_token(query["pageToken"], *bound_to))
    page = read_page(
        platform.database,
        job_id,
        attempt,
        ranks=ranks,
        limit=query["pageSize"],
        from_head=query["startFromHead"],
        contains=query["filter"].encode(),
        since_ns=min(max(query["startTime"], 0), _MAX_NS),
        positions=positions,
    )
    answer: LogEntryList = {
        "entries": log_entries(page.entries),
        "nextPageToken": _next_token(page, attempt, bound_to),
    }
    return json_response(answer)


@router.get(
    "/batchJobs/{job_id}/ranks/{rank}/notebook",
    responses={200: {"content": {_NOTEBOOK_TYPE: {}}}},
    openapi_extra=openapi_parameters(_NOTEBOOK_QUERY),
)
def get_executed_notebook(request: Request, job_id: str, rank: str, platform: PlatformDep) -> Response:
    """The notebook as papermill left it, also after a failure."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _NOTEBOOK_QUERY)
    if query["format"] not in ("", "ipynb", "html"):
        raise InvalidArgument.field("format", "must be ipynb or html")
    refuse_unserved(query, {"format": frozenset({"", "ipynb"})})
    try:
        number = whole_number(rank)
    except ValueError:
        raise NotFound(f"job {job_id} has no such rank") from None
    return Response(get_notebook(platform.database, caller.account, job_id, number), media_type=_NOTEBOOK_TYPE)


def _next_token(page: LogPage, attempt: int, bound_to: tuple[object, ...]) -> str:
    """The place in every rank's output: one of them must not be jumped over because another was ahead."""
    if page.next_positions is None:
        return ""
    positions = [[rank, *position] for rank, position in sorted(page.next_positions.items())]
    return make_page_token([attempt, positions], *bound_to)


def _token_positions(found: object) -> tuple[int, dict[int, Position]]:
    match found:
        case [int(attempt), list(positions)] if all(map(_is_position, positions)) and 0 < attempt <= _MAX_INT32:
            return attempt, {rank: (seq, index) for rank, seq, index in positions}
        case _:
            raise bad_page_token()


def _is_position(found: object) -> bool:
    if not isinstance(found, list) or len(found) != 3:
        return False
    return all(isinstance(number, int) and 0 <= number <= _MAX_INT32 for number in found)
