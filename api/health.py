"""Is the process alive, and can it serve? For supervisors and load balancers, so without a key."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, Response

from api.dependencies import PlatformDep
from api.errors import ANSWERS, error_response
from core.errors import Unavailable

router = APIRouter(tags=["health"])
log = structlog.get_logger(__name__)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """200 as long as the process answers at all."""
    return {}


@router.get("/readyz")
def readyz(platform: PlatformDep) -> Response:
    """200 when the database answers; else 503 naming it. The broker is not asked: without it we are slower."""
    try:
        platform.database.check()
    except Unavailable as error:
        log.warning("not_ready", part="database", error=str(error))
        return error_response(ANSWERS[Unavailable], "the database does not answer")
    return Response(b"{}", media_type="application/json")
