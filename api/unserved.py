"""Calls of the contract that this version does not serve: each answers so, once it is known who asks.

One table of paths. A call leaves it when its resource is built.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from api.dependencies import PlatformDep, caller_in_account
from api.needs import Need, needs
from api.openapi.operations import documented
from core.errors import NotImplementedYet

router = APIRouter(prefix="/v1/accounts/{account_id}", tags=["not served yet"])

_ENVIRONMENT, _SNAPSHOT = "/environments/{environment_id}", "/snapshots/{snapshot_id}"
#: The longer paths first: `environments/{id}` matches `environments/x:connect` too.
_CALLS: dict[str, tuple[tuple[str, str], ...]] = {
    "environments": (
        ("POST", f"{_ENVIRONMENT}:connect"),
        ("POST", f"{_ENVIRONMENT}:disconnect"),
        ("POST", "/environments:batchDelete"),
        ("POST", "/environments"),
        ("GET", "/environments"),
        ("GET", _ENVIRONMENT),
        ("PATCH", _ENVIRONMENT),
        ("DELETE", _ENVIRONMENT),
    ),
    "snapshots": (("POST", "/snapshots"), ("GET", "/snapshots"), ("GET", _SNAPSHOT), ("DELETE", _SNAPSHOT)),
}


def _refusing(noun: str, need: Need) -> Callable[..., Response]:
    @needs(need)
    def refuse(request: Request, platform: PlatformDep) -> Response:
        caller_in_account(request, platform)
        raise NotImplementedYet(f"{noun} are not served yet")

    return refuse


for _noun, _calls in _CALLS.items():
    for _method, _path in _calls:
        router.add_api_route(
            _path,
            _refusing(_noun, Need.READ if _method == "GET" else Need.USER),
            methods=[_method],
            description="Not served yet: the answer is 501.",
            **documented(errors=[501]),
        )
