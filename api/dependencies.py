"""What a route asks for: the platform's parts and the caller. Opening and closing the parts is `api.app`'s.

Nothing here has code after a `yield`: it would run when the reply is out, and a commit there is a lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from core.accounts import Caller, authenticate
from core.database import Database
from core.errors import NotFound, Unauthenticated
from core.jobs.reading import not_found
from core.queue import Bell
from core.settings import Settings


@dataclass(frozen=True)
class Platform:
    """What one api process holds open."""

    settings: Settings
    database: Database
    bell: Bell


async def platform_of(request: Request) -> Platform:
    """The process's parts. A coroutine, because a plain function would cost every request a change of threads."""
    platform = request.app.state.platform
    assert isinstance(platform, Platform)  # noqa: S101  # the lifespan sets it before the first request
    return platform


PlatformDep = Annotated[Platform, Depends(platform_of)]


def caller_in_account(request: Request, platform: Platform) -> Caller:
    """Who asks, once it is sure that the path's account is his. Raises Unauthenticated or NotFound.

    The first line of every route under an account: called, not declared, because a dependency that waits for
    the database would cost each request one more change of threads. A test asks every route without a key.
    Every request asks the database, so that a revoked key ends at once.
    """
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated("no API key")
    caller = authenticate(platform.database, key.strip())
    account, job_id = request.path_params["account_id"], request.path_params.get("job_id")
    # Postgres text holds no NUL, so such an id is one that does not exist, and must not reach a query.
    if job_id is not None and (account != caller.account or "\0" in job_id):
        raise not_found(account, job_id)
    if account != caller.account:
        raise NotFound(f"there is no account {account}")
    return caller
