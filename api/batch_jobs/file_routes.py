"""The files that came with a job, as they came."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.dependencies import PlatformDep, caller_in_account
from api.needs import Need, needs
from api.openapi.operations import documented
from core.jobs.files import get_file

router = APIRouter()

_TYPE = "application/octet-stream"
#: Whatever it is, no browser is to run it.
_AS_DATA = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}


@router.get(
    "/batchJobs/{job_id}/files/{file:path}",
    **documented(
        content={_TYPE: {"schema": {"type": "string", "format": "binary"}}}, operation_id="batchJobs_files_get"
    ),
)
@needs(Need.READ)
def get_job_file(request: Request, job_id: str, file: str, platform: PlatformDep) -> Response:
    """A file that came with the job; their names are the job's `uploads`."""
    caller = caller_in_account(request, platform)
    content = get_file(platform.database, caller.account, job_id, file)
    return Response(content, media_type=_TYPE, headers=_AS_DATA)
