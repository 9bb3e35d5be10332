"""Accounts that have all the jobs that they may have, and ask for more again and again.

Most of such requests are refused as the last one was, before their bodies are read and without asking the
database: it and the engines beside it are to get on with the jobs that there are.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from api.rate_limit import RateLimiter
from core.errors import LiveJobsSpent

#: Refusals of one asker for which the database is asked, and how many may come at a time: whoever asks less often
#: is never told what was, and in a flood what was is a quarter of a second old at the most.
_ASKED_PER_SECOND, _ASKED_AT_ONCE = 4.0, 50
#: Refusals that are remembered; of what is forgotten the database is asked.
_MOST = 1000


class SpentQuotas:
    """What was refused last, of this process. An asker is a key, by its digest, and the path that it asks."""

    def __init__(self) -> None:
        self._asking = RateLimiter(_ASKED_PER_SECOND, _ASKED_AT_ONCE)
        self._refusals: OrderedDict[bytes, str] = OrderedDict()

    def refuse_flood(self, asker: bytes) -> None:
        """Raises LiveJobsSpent where this was refused so often that the database is not asked again yet."""
        told = self._refusals.get(asker)
        if told is not None and self._asking.wait(asker):
            raise LiveJobsSpent(told)

    @contextmanager
    def noted(self, asker: bytes) -> Iterator[None]:
        """Around the storing of a job, whose LiveJobsSpent is remembered until one is stored."""
        try:
            yield
        except LiveJobsSpent as error:
            self._asking.take(asker)
            self._refusals[asker] = str(error)
            if len(self._refusals) > _MOST:
                self._refusals.popitem(last=False)
            raise
        self._refusals.pop(asker, None)


def asker_of(request: Request) -> bytes:
    """Who asks for what, whatever is in it."""
    key = request.headers.get("authorization", "")
    return hashlib.sha256(f"{request.url.path}\n{key}".encode("utf-8", "surrogatepass")).digest()


async def refuse_flood(request: Request) -> None:
    """A dependency of routes that store jobs. Raises LiveJobsSpent.

    A request with an Idempotency-Key may have been answered before: it is answered so again, whatever the quota.
    """
    if "idempotency-key" not in request.headers:
        request.app.state.platform.spent_quotas.refuse_flood(asker_of(request))
