"""Make a job: from a body, or from another job. A dry run asks for all the same and stores nothing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from api.batch_jobs.permission import job_for_change
from api.batch_jobs.rules import to_spec, violations
from api.batch_jobs.schema_in import (
    BATCH_JOB,
    EXECUTORS,
    OUTPUT_ONLY,
    BatchJobCreate,
    read_batch_job,
)
from api.batch_jobs.schema_out import BatchJobRead, batch_job, dry_run
from api.dependencies import Platform, PlatformDep, caller_in_account
from api.needs import Need, needs
from api.openapi.operations import documented
from api.request_body import UploadBody, json_text, read_in_turn
from api.responses import json_response
from api.spent_quotas import asker_of, refuse_flood
from api.wire import query as wire_query
from api.wire.json_text import load_json
from api.wire.proto_json import Faults
from api.wire.query import read_query
from api.wire.resource_ids import id_violations
from core.accounts import Caller
from core.errors import InvalidArgument, NotImplementedYet
from core.failpoints import Point, failpoint
from core.jobs import submitting
from core.jobs.idempotency import RequestMark
from core.jobs.outlook import outlook
from core.jobs.quotas import Limits
from core.jobs.reading import JobRecord
from core.jobs.submitting import Submission
from core.settings import Settings
from core.spec import FileMark
from core.tracing import note_submitted, now_ns

router = APIRouter()

_CREATE_QUERY = {"batchJobId": wire_query.TEXT, "validateOnly": wire_query.FLAG}
_IDEMPOTENCY_KEY = "Idempotency-Key"
#: Visible ASCII; long enough for two UUIDs and a path.
_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


@router.post(
    "/batchJobs",
    dependencies=[Depends(refuse_flood)],
    **documented(
        answer=BatchJobRead,
        query=_CREATE_QUERY,
        body=BATCH_JOB,
        required=["nodePoolId"],
        idempotent=True,
        errors=[403, 409, 501],
    ),
)
@needs(Need.USER)
def create_batch_job(request: Request, platform: PlatformDep, body: UploadBody) -> Response:
    """Store a job and ring for it; it is queued when this answers."""
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _CREATE_QUERY)
    with read_in_turn(body):
        return _make(request, platform, caller, query, load_json(json_text(request, body)))


@router.post(
    "/batchJobs/{job_id}:clone",
    **documented(
        answer=BatchJobRead,
        query=_CREATE_QUERY,
        body=BATCH_JOB,
        body_optional=True,
        idempotent=True,
        errors=[403, 409, 501],
    ),
)
@needs(Need.CREATOR_OR_SHARED)
def clone_batch_job(request: Request, job_id: str, platform: PlatformDep, body: UploadBody) -> Response:
    """Store a new job with the fields of another; those in the body take the place of the other's.

    The other's files come along, but for those of which the body has a new content.
    """
    caller = caller_in_account(request, platform)
    query = read_query(request.query_params.multi_items(), _CREATE_QUERY)
    with read_in_turn(body):
        changes = load_json(json_text(request, body, absent=b"{}"))
        faults: Faults = []
        BATCH_JOB.read(changes, "", faults)
        if faults:
            raise InvalidArgument(faults)
        source = job_for_change(platform, caller, job_id)
        return _make(request, platform, caller, query, overlaid(batch_job(source), changes), source)


def overlaid(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A job's fields with those of a request over them, by camelCase name; one executor replaces another."""
    spellings = BATCH_JOB.spellings
    given = {spellings[name]: value for name, value in changes.items() if value is not None}
    kept = {name: value for name, value in stored.items() if name not in OUTPUT_ONLY}
    if any(name in given for name in EXECUTORS):
        kept = {name: value for name, value in kept.items() if name not in EXECUTORS}
    return {**kept, **given}


def _make(
    request: Request,
    platform: Platform,
    caller: Caller,
    query: Mapping[str, Any],
    fields: object,
    source: JobRecord | None = None,
) -> Response:
    settings = platform.settings
    files = {} if source is None else source.spec.files
    wanted = _acceptable(fields, settings, query["batchJobId"], files)
    if wanted.unserved:
        raise NotImplementedYet(f"not served yet: {', '.join(wanted.unserved)}")
    limits = Limits(settings.max_live_jobs, settings.max_live_ranks)
    submission = Submission(
        pool=wanted.node_pool_id,
        display_name=wanted.display_name,
        shared=wanted.shared,
        spec=to_spec(wanted),
        batch_job_id=query["batchJobId"],
        mark=_mark(request, [source.batch_job_id if source else "", query["batchJobId"], fields]),
        contents=wanted.contents,
        files_of=source.id if source else "",
    )
    if query["validateOnly"]:
        spec, pool_row = submitting.check(platform.database, caller, submission, limits)
        found = outlook(platform.database, pool_row, caller.account, spec)
        return json_response(dry_run(caller, submission, spec, found))
    begun_ns = now_ns()
    with platform.spent_quotas.noted(asker_of(request)):
        submitted = submitting.submit(platform.database, caller, submission, limits)
    if submitted.is_new:
        note_submitted(submitted.job.id, begun_ns)
        failpoint(Point.SUBMIT_COMMITTED, submitted.job.id, submitted.job.batch_job_id)
        platform.bell.schedule(submitted.pool_row)
    return json_response(batch_job(submitted.job))


def _acceptable(
    body: object, settings: Settings, batch_job_id: str, files: Mapping[str, FileMark]
) -> BatchJobCreate:
    """The request's job, which has these files as well. Raises InvalidArgument with the faults of kind and of rule
    together."""
    faults: Faults = id_violations("batchJobId", batch_job_id) if batch_job_id else []
    wanted = replace(read_batch_job(body, faults), files_before=files)
    if not isinstance(body, dict):
        raise InvalidArgument(faults)
    # A field that could not be read looks as if it were missing; that is not a second fault.
    named = {fault.field for fault in faults}
    broken = violations(wanted, settings.max_ranks, settings.max_upload_bytes)
    faults += [violation for violation in broken if violation.field not in named]
    if faults:
        raise InvalidArgument(faults)
    return wanted


def _mark(request: Request, asked: list[Any]) -> RequestMark | None:
    """The request's Idempotency-Key with a digest of all that is asked for. Raises InvalidArgument."""
    given = request.headers.getlist(_IDEMPOTENCY_KEY)
    if not given:
        return None
    if len(given) > 1 or _KEY.fullmatch(given[0]) is None:
        raise InvalidArgument.field(_IDEMPOTENCY_KEY, "must be one value of 1 to 255 visible ASCII characters")
    return RequestMark(given[0], hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).digest())
