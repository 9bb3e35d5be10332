"""What a route asks for: the platform's parts and the caller. Opening and closing the parts is `api.app`'s.

Nothing here has code after a `yield`: it would run when the reply is out, and a commit there is a lie.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.authentication import Authentication
from api.job_watch import JobWatch
from api.log_feed import LogFeeds
from api.needs import Need, is_operators_admin, need_of, refuse_unless_met
from api.platform_figures import PlatformFigures
from api.readiness import Readiness
from api.spent_quotas import SpentQuotas
from api.stream_limits import Streams
from core.accounts import Caller
from core.database import Database
from core.errors import NotFound, PermissionDenied
from core.object_store import ObjectStore
from core.queue import Bell
from core.settings import Settings

#: A text of Postgres holds no NUL, and half of a surrogate pair cannot even be sent to it.
_IMPOSSIBLE = re.compile(r"[\0\ud800-\udfff]")
_CAPITAL = re.compile(r"(?<!^)([A-Z])")


@dataclass(frozen=True)
class Platform:
    """What one api process holds open."""

    settings: Settings
    database: Database
    bell: Bell
    authentication: Authentication
    streams: Streams
    watch: JobWatch
    feeds: LogFeeds
    #: None where what ended jobs left stays in the database
    objects: ObjectStore | None
    readiness: Readiness
    figures: PlatformFigures
    spent_quotas: SpentQuotas


async def platform_of(request: Request) -> Platform:
    """The process's parts. A coroutine, because a plain function would cost every request a change of threads."""
    platform = request.app.state.platform
    assert isinstance(platform, Platform)  # noqa: S101  # the lifespan sets it before the first request
    return platform


PlatformDep = Annotated[Platform, Depends(platform_of)]


def caller_in_account(request: Request, platform: Platform) -> Caller:
    """Who asks, once it is sure that the path's account is his and that he meets what the route declares.

    Raises ResourceExhausted, Unauthenticated, NotFound or PermissionDenied, in this order.
    The first line of every route under an account: called, not declared, because a dependency that waits for
    the database would cost each request one more change of threads. A test asks every route without a key.
    An id that no resource can have is answered here, like one that no resource has: it must not reach a query.
    """
    caller = platform.authentication.caller(request)
    _check_path(request, caller.account)
    _check_need(request, caller)
    return caller


def admin_in_account(request: Request, platform: Platform) -> Caller:
    """`caller_in_account`, who must be an admin whatever the route declares."""
    caller = caller_in_account(request, platform)
    refuse_unless_met(Need.ADMIN, caller)
    return caller


def node_owner_in_account(request: Request, platform: Platform) -> Caller:
    """`caller_in_account`, who must be an admin of an account that may own nodes."""
    caller = caller_in_account(request, platform)
    refuse_unless_met(Need.NODE_OWNER, caller)
    return caller


def caller_of_platform(request: Request, platform: Platform) -> Caller:
    """Who asks, of a route of accounts themselves: the operator's admins may name any account, others their own.

    Raises as `caller_in_account` does.
    """
    caller = platform.authentication.caller(request)
    account = request.path_params.get("account_id", caller.account)
    _check_path(request, account if is_operators_admin(caller) else caller.account)
    _check_need(request, caller)
    return caller


def _check_need(request: Request, caller: Caller) -> None:
    need = need_of(request.scope["endpoint"])
    if need is None:
        raise PermissionDenied("this call does not declare who may make it, so nobody may")
    refuse_unless_met(need, caller)


def _check_path(request: Request, account: str) -> None:
    """Raise NotFound where the path's account is another, or where one of its ids cannot be."""
    asked, *ids = [str(value) for value in request.path_params.values()] or [account]
    if asked != account:
        raise _nothing_at(request.scope["path"], asked, ids[:1])
    for count, each in enumerate([asked, *ids]):
        if _IMPOSSIBLE.search(each):
            raise _nothing_at(request.scope["path"], asked, ids[:count])


def _nothing_at(path: str, account: str, ids: list[str]) -> NotFound:
    """The error of a resource that is not there, as `core` words it, from the path of the request alone."""
    name, noun, rest = f"accounts/{account}", "account", path.partition(f"/accounts/{account}/")[2]
    for each in ids:
        collection, _, rest = rest.partition(f"/{each}")
        collection, rest = collection.strip("/"), rest.lstrip("/")
        name, noun = f"{name}/{collection}/{each}", _CAPITAL.sub(r" \1", collection).lower().removesuffix("s")
    return NotFound(f"there is no {noun} {name}")
