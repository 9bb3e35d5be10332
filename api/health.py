"""Is the process alive, and can it serve? For supervisors and load balancers, so without a key."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, Response

from api.dependencies import PlatformDep
from api.errors import ANSWERS, error_response
from api.openapi.operations import documented
from api.responses import Empty, json_response
from core.errors import Unavailable

router = APIRouter(tags=["health"])
log = structlog.get_logger(__name__)


@router.get("/healthz", **documented(answer=Empty))
async def healthz() -> Response:
    """200 as long as the process answers at all."""
    return json_response({})


@router.get("/readyz", **documented(answer=Empty, errors=[503]))
def readyz(platform: PlatformDep) -> Response:
    """200 when the database answers; else 503 naming it. The broker is not asked: without it we are slower."""
    try:
        platform.database.check()
    except Unavailable as error:
        log.warning("not_ready", part="database", error=str(error))
        return error_response(ANSWERS[Unavailable], "the database does not answer")
    return json_response({})
