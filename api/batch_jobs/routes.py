"""Create, get, list, cancel, delete. Every verb commits in `core` before a reply exists, then the bell rings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from api.batch_jobs.rules import to_spec, violations
from api.batch_jobs.schema_in import CREATE_OPENAPI, BatchJobCreate, read_batch_job
from api.batch_jobs.schema_out import BatchJobList, BatchJobRead, Empty, batch_job
from api.dependencies import Platform, PlatformDep, caller_in_account
from api.request_body import Body, json_text
from api.wire import query as wire_query
from api.wire.json_text import dump_json, load_json
from api.wire.page_tokens import bad_page_token, make_page_token, read_page_token
from api.wire.proto_json import Faults, message
from api.wire.query import WHOLE_RESOURCE, openapi_parameters, read_query, refuse_unserved
from api.wire.times import from_microseconds, to_microseconds
from core.accounts import Caller
from core.errors import InvalidArgument, NotImplementedYet, PermissionDenied
from core.jobs import stopping
from core.jobs.reading import get_job, list_jobs
from core.jobs.submitting import submit

router = APIRouter()

_CREATE_QUERY = {"batchJobId": wire_query.TEXT, "validateOnly": wire_query.FLAG}
_GET_QUERY = {"readMask": wire_query.TEXT}
_LIST_QUERY = {
    "pageSize": wire_query.page_size(50, 200),
    "pageToken": wire_query.TEXT,
    "filter": wire_query.TEXT,
    "orderBy": wire_query.TEXT,
    "readMask": wire_query.TEXT,
}
_LIST_SERVED = {
    "filter": frozenset({""}),
    "orderBy": frozenset({"", "create_time desc", "createTime desc"}),
    "readMask": WHOLE_RESOURCE,
}
_NO_FIELDS = message({})


@router.post(
    "/batchJobs",
    responses={200: {"model": BatchJobRead}},
    openapi_extra={**CREATE_OPENAPI, **openapi_parameters(_CREATE_QUERY)},
)
def create_batch_job(request: Request, platform: PlatformDep, body: Body) -> Response:
    """Store a job and ring for it; it is queued when this answers."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _CREATE_QUERY)
    wanted = _acceptable(load_json(json_text(request, body)), platform.settings.max_ranks)
    unserved = [name for name in _CREATE_QUERY if query[name]] + list(wanted.unserved)
    if "idempotency-key" in request.headers:
        unserved.append("Idempotency-Key")
    if unserved:
        raise NotImplementedYet(f"not served yet: {', '.join(unserved)}")
    record, pool_row = submit(
        platform.database,
        account=caller.account,
        created_by=caller.email,
        pool=wanted.node_pool_id,
        display_name=wanted.display_name,
        shared=wanted.shared,
        spec=to_spec(wanted),
    )
    platform.bell.schedule(pool_row)
    return json_response(batch_job(record))


@router.get("/batchJobs", responses={200: {"model": BatchJobList}}, openapi_extra=openapi_parameters(_LIST_QUERY))
def list_batch_jobs(request: Request, platform: PlatformDep) -> Response:
    """The account's jobs, newest first."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _LIST_QUERY)
    refuse_unserved(query, _LIST_SERVED)
    bound_to = ("batchJobs", caller.account, query["pageSize"])
    after = _token_key(read_page_token(query["pageToken"], *bound_to)) if query["pageToken"] else None
    page = list_jobs(platform.database, caller.account, limit=query["pageSize"], after=after)
    token = ""
    if page.next_key is not None:
        token = make_page_token([to_microseconds(page.next_key[0]), page.next_key[1]], *bound_to)
    answer: BatchJobList = {
        "batchJobs": [batch_job(record) for record in page.jobs],
        "nextPageToken": token,
        "totalSize": page.total,
    }
    return json_response(answer)


@router.get(
    "/batchJobs/{job_id}",
    responses={200: {"model": BatchJobRead}},
    openapi_extra=openapi_parameters(_GET_QUERY),
)
def get_batch_job(request: Request, job_id: str, platform: PlatformDep) -> Response:
    """One job."""
    caller = caller_in_account(request, platform)
    refuse_unserved(read_query(request.query_params.multi_items(), _GET_QUERY), {"readMask": WHOLE_RESOURCE})
    return json_response(batch_job(get_job(platform.database, caller.account, job_id)))


@router.post("/batchJobs/{job_id}:cancel", responses={200: {"model": Empty}})
def cancel_batch_job(request: Request, job_id: str, platform: PlatformDep, body: Body) -> Response:
    """Stop a job's ranks; again is no error."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    faults: Faults = []
    # A verb without arguments is often called without a body.
    _NO_FIELDS.read(load_json(json_text(request, body, absent=b"{}")), "", faults)
    if faults:
        raise InvalidArgument(faults)
    _check_may_stop(platform, caller, job_id)
    _ring(platform, stopping.cancel(platform.database, caller.account, job_id))
    return json_response({})


@router.delete("/batchJobs/{job_id}", responses={200: {"model": Empty}})
def delete_batch_job(request: Request, job_id: str, platform: PlatformDep) -> Response:
    """Remove a job; a live one is stopped first."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    _check_may_stop(platform, caller, job_id)
    _ring(platform, stopping.delete(platform.database, caller.account, job_id))
    return json_response({})


def json_response(value: Any) -> Response:
    """A 200 with JSON that is already in the wire's shape."""
    return Response(dump_json(value), media_type="application/json")


def _acceptable(body: object, max_ranks: int) -> BatchJobCreate:
    """The request's job. Raises InvalidArgument with the faults of kind and of rule together."""
    faults: Faults = []
    wanted = read_batch_job(body, faults)
    if not isinstance(body, dict):
        raise InvalidArgument(faults)
    # A field that could not be read looks as if it were missing; that is not a second fault.
    named = {fault.field for fault in faults}
    faults += [violation for violation in violations(wanted, max_ranks) if violation.field not in named]
    if faults:
        raise InvalidArgument(faults)
    return wanted


def _token_key(found: object) -> tuple[datetime, str]:
    match found:
        case [int(microseconds), str(job_id)] if job_id.isalnum():
            try:
                return from_microseconds(microseconds), job_id
            except OverflowError:
                raise bad_page_token() from None
        case _:
            raise bad_page_token()


def _check_may_stop(platform: Platform, caller: Caller, job_id: str) -> None:
    """Raises NotFound, or PermissionDenied: everyone may read, but a job that is not shared is its creator's."""
    record = get_job(platform.database, caller.account, job_id)
    if not (caller.is_admin or record.shared or record.created_by == caller.email):
        raise PermissionDenied("the job is not shared: only its creator and account admins may do this")


def _ring(platform: Platform, settled: stopping.Settled) -> None:
    for order in settled.stops:
        platform.bell.stop(order.worker_group, order.job_id, order.attempt, order.node_id)
    if settled.slots_freed:
        platform.bell.schedule(settled.pool_row)
