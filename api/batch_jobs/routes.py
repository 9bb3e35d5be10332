"""Get, list, update, cancel, delete. Every verb commits in `core` before a reply exists, then the bell rings."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.batch_jobs.permission import job_for_change, jobs_for_change
from api.batch_jobs.rules import display_name_violations
from api.batch_jobs.schema_in import IMMUTABLE, MUTABLE, MUTABLE_ZERO, OUTPUT_ONLY
from api.batch_jobs.schema_out import BatchJobList, BatchJobRead, batch_job
from api.dependencies import Platform, PlatformDep, caller_in_account
from api.needs import Need, needs
from api.openapi.operations import documented
from api.request_body import Body, json_text
from api.responses import Empty, json_response
from api.wire import query as wire_query
from api.wire.json_text import load_json
from api.wire.lists import ListSchema, read_list
from api.wire.proto_json import Faults, message
from api.wire.query import read_query
from api.wire.read_mask import read_mask_parameter
from api.wire.resource_names import NAMES, read_names
from api.wire.updates import read_update, update_schema
from core.errors import InvalidArgument
from core.jobs import stopping
from core.jobs.editing import edit_job
from core.jobs.listing import JOB_LISTING
from core.jobs.reading import get_job, list_jobs

router = APIRouter()

_LIST = ListSchema("batchJobs", JOB_LISTING, BatchJobRead)
_GET_QUERY = {"readMask": read_mask_parameter(BatchJobRead)}
_UPDATE_QUERY = {"updateMask": wire_query.TEXT}
_NO_FIELDS = message({})


@router.get("/batchJobs", **documented(answer=BatchJobList, query=_LIST.parameters))
@needs(Need.READ)
def list_batch_jobs(request: Request, platform: PlatformDep) -> Response:
    """The account's jobs, newest first where no other order is asked for."""
    caller = caller_in_account(request, platform)
    asked = read_list(request.query_params.multi_items(), _LIST, caller.account)
    page = list_jobs(platform.database, caller.account, asked.query)
    return json_response(asked.answer(map(batch_job, page.items), page))


@router.get("/batchJobs/{job_id}", **documented(answer=BatchJobRead, query=_GET_QUERY))
@needs(Need.READ)
def get_batch_job(request: Request, job_id: str, platform: PlatformDep) -> Response:
    """One job."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _GET_QUERY)
    return json_response(query["readMask"].apply(batch_job(get_job(platform.database, caller.account, job_id))))


@router.post("/batchJobs/{job_id}:cancel", **documented(answer=Empty, body=_NO_FIELDS, body_optional=True))
@needs(Need.CREATOR_OR_SHARED)
def cancel_batch_job(request: Request, job_id: str, platform: PlatformDep, body: Body) -> Response:
    """Stop a job's ranks; again is no error."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    faults: Faults = []
    # A verb without arguments is often called without a body.
    _NO_FIELDS.read(load_json(json_text(request, body, absent=b"{}")), "", faults)
    if faults:
        raise InvalidArgument(faults)
    job_for_change(platform, caller, job_id)
    _ring(platform, stopping.cancel(platform.database, caller.account, job_id))
    return json_response({})


@router.patch(
    "/batchJobs/{job_id}",
    **documented(answer=BatchJobRead, query=_UPDATE_QUERY, body_schema=update_schema(MUTABLE), errors=[403]),
)
@needs(Need.CREATOR_OR_SHARED)
def update_batch_job(request: Request, job_id: str, platform: PlatformDep, body: Body) -> Response:
    """Change what may change of a job: the fields in the body, or those that `updateMask` names."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _UPDATE_QUERY)
    faults: Faults = []
    changes = read_update(
        load_json(json_text(request, body)),
        query["updateMask"],
        faults,
        mutable=MUTABLE,
        zero=MUTABLE_ZERO,
        immutable=IMMUTABLE,
        output_only=OUTPUT_ONLY,
    )
    faults += display_name_violations(changes.get("displayName", ""))
    if faults:
        raise InvalidArgument(faults)
    job_for_change(platform, caller, job_id)
    edited = edit_job(
        platform.database,
        caller.account,
        job_id,
        display_name=changes.get("displayName"),
        shared=changes.get("shared"),
    )
    return json_response(batch_job(edited))


@router.post("/batchJobs:batchDelete", **documented(answer=Empty, body=NAMES, required=["names"], errors=[403]))
@needs(Need.CREATOR_OR_SHARED)
def batch_delete_batch_jobs(request: Request, platform: PlatformDep, body: Body) -> Response:
    """Remove several jobs, or none where one cannot be."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    job_ids = read_names(load_json(json_text(request, body)), caller.account, "batchJobs")
    jobs_for_change(platform, caller, job_ids)
    for settled in stopping.delete_all(platform.database, caller.account, job_ids):
        _ring(platform, settled)
    return json_response({})


@router.delete("/batchJobs/{job_id}", **documented(answer=Empty, errors=[403]))
@needs(Need.CREATOR_OR_SHARED)
def delete_batch_job(request: Request, job_id: str, platform: PlatformDep) -> Response:
    """Remove a job; a live one is stopped first."""
    caller = caller_in_account(request, platform)
    read_query(request.query_params.multi_items(), {})
    job_for_change(platform, caller, job_id)
    _ring(platform, stopping.delete(platform.database, caller.account, job_id))
    return json_response({})


def _ring(platform: Platform, settled: stopping.Settled) -> None:
    for order in settled.stops:
        platform.bell.stop(order.worker_group, order.job_id, order.attempt, order.node_id)
    if settled.slots_freed:
        platform.bell.schedule(settled.pool_row)
