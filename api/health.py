"""Is the process alive, and can it serve? For supervisors and load balancers, so without a key."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from typing_extensions import TypedDict

from api.dependencies import PlatformDep
from api.errors import ANSWERS, error_response
from api.openapi.operations import documented
from api.readiness import PARTS, faults_in
from api.responses import Empty, json_response
from api.wire.proto_json import shown
from api.wire.query import Parameter, read_query
from core.errors import Unavailable

router = APIRouter(tags=["health"])

_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"


def _parts(values: list[str]) -> frozenset[str]:
    """`a=x&a=y` and `a=x,y` are the same. Raises ValueError."""
    named = frozenset(part for value in values for part in value.split(",") if part)
    unknown = sorted(named - set(PARTS))
    if unknown:
        raise ValueError(f"there is no part {shown(unknown[0])}; there are {', '.join(PARTS)}")
    return named


_EXCLUDE: Final = Parameter(_parts, frozenset(), {"type": "array", "items": {"enum": list(PARTS)}})
_QUERY: Final = {"exclude": _EXCLUDE}


class Ready(TypedDict):
    """What each part that was asked has said: `ready`."""

    parts: dict[str, str]


@router.get("/healthz", **documented(answer=Empty))
async def healthz() -> Response:
    """200 as long as the process answers at all; nothing else is asked."""
    return json_response({})


@router.get("/readyz", **documented(answer=Ready, query=_QUERY, errors=[400, 503]))
async def readyz(request: Request, platform: PlatformDep) -> Response:
    """200 when database, migrations and broker are as they must be; else 503 that names each part and its fault.

    It answers within two seconds, whatever hangs. `exclude=broker` (parts, with commas) asks of the others only:
    without the broker every call is served, and what it asks for is begun later.
    """
    query = read_query(request.query_params.multi_items(), _QUERY)
    said = await platform.readiness.check(query["exclude"])
    faults = faults_in(said)
    if not faults:
        return json_response(Ready(parts=said))
    words = "; ".join(f"{part}: {why}" for part, why in faults.items())
    details = {"@type": _ERROR_INFO, "reason": "NOT_READY", "domain": "longshore", "metadata": said}
    return error_response(ANSWERS[Unavailable], f"not ready: {words}", [details])
