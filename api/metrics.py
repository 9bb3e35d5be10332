"""`GET /metrics`: what this process measures, and the figures of the whole platform, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.dependencies import PlatformDep
from api.openapi.operations import documented
from core.errors import PermissionDenied
from core.measures import CONTENT_TYPE, exposition

router = APIRouter(tags=["health"])


@router.get(
    "/metrics", **documented(content={"text/plain": {"schema": {"type": "string"}}}, errors=[401, 403, 429, 503])
)
def metrics(request: Request, platform: PlatformDep) -> Response:
    """What the platform and this process do, in Prometheus' text format.

    With a key of any user of the operator's account: one that may do nothing else is enough.
    """
    if not platform.authentication.caller(request).is_operator:
        raise PermissionDenied("only users of the platform's operator may read its metrics")
    return Response(exposition(platform.figures.metrics()), media_type=CONTENT_TYPE)
